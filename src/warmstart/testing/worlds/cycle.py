"""Histories whose next item is known: the successor of the last one.

The even items stand on one cycle and the odd ones on another, in an order that neither ids nor rows
tell. A history starts anywhere on the cycle of its parity. Each step goes to the successor of the
item or jumps to any other item of the cycle, each with probability 1/2; the last two steps, which
validate and test, go to the successor. So the history has several items whose successor it does not
have, and only its order tells which of them is the last. Hence

- who knows the successors and the last item names the next one: hit@1 is 1;
- who knows the successors, but reads a history as a set, has to guess: hit@1 is ``set_hit``, 0.4;
- who knows the parity only has a chance of 1 in 9, who knows nothing of 1 in 25.
"""

from dataclasses import dataclass, replace

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.next_item import next_item
from warmstart.data.tasks import RankingTask
from warmstart.testing.worlds.items import external_ids, numbered_items

_LENGTH = 8  # events of a history; the last is the test, the one before it validation
_JUMPS = 0.5  # probability of a jump in training


@dataclass(frozen=True)
class CycleWorld:
    """Walks on the cycles, with the ideal answers.

    Attributes:
        split: by the protocol "next-item", leave-one-out.
        successors: int32, shape (n_items,): the item that follows each item.
    """

    split: EventSplit
    successors: np.ndarray

    @property
    def test(self) -> RankingTask:
        """The test task over all queries."""
        task = self.split.tasks("test")["all"]
        assert isinstance(task, RankingTask)
        return task

    def ideal_scores(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """1 for the successor of the last item of a query's history, else 0: float32."""
        assert queries.histories is not None
        last = queries.histories.padded(1, padding=-1)
        return (self.successors[last] == items[None, :]).astype(np.float32)

    def set_scores(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """1 for the successors of all items of a query's history, else 0: float32."""
        assert queries.histories is not None
        return queries.histories.matrix(len(self.successors)).toarray()[:, self._before(items)]

    @property
    def set_hit(self) -> float:
        """Expected hit@1 on test if the successors are known, but not the order of a history."""
        task = self.test
        known = self.set_scores(task.queries, task.candidates) > 0
        choices = (known & ~task.masked.toarray()).sum(axis=1)
        return float((1 / choices).mean())

    def _before(self, items: np.ndarray) -> np.ndarray:
        return np.argsort(self.successors)[items]


def cycle_world(*, n_items: int = 32, n_users: int = 240, seed: int = 0) -> CycleWorld:
    """Make walks on two cycles.

    Args:
        n_items: number of items, half of them even; an even number.
        n_users: number of users, each with one walk.
        seed: seed of all random choices.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(n_items)
    successors = np.empty(n_items, np.int32)
    for parity in (0, 1):
        places = rng.permutation(np.flatnonzero(numbers % 2 == parity))
        successors[places] = np.roll(places, -1)
    walks = [_walk(user % 2, numbers, successors, rng) for user in range(n_users)]
    dataset = Dataset(
        "cycle",
        external_ids("user", "str", range(n_users)),
        numbered_items(numbers, rng),
        Interactions.from_arrays(
            np.repeat(np.arange(n_users), _LENGTH),
            np.concatenate(walks),
            times=np.tile(np.arange(_LENGTH), n_users),
        ),
        clock="position",
    )
    return CycleWorld(next_item(dataset), successors)


def _walk(
    parity: int, numbers: np.ndarray, successors: np.ndarray, rng: np.random.Generator
) -> list[int]:
    """Draw a walk of distinct items; one that would have to repeat an item is drawn again."""
    pool = np.flatnonzero(numbers % 2 == parity)
    while True:
        walk = [int(rng.choice(pool))]
        while len(walk) < _LENGTH:
            following = int(successors[walk[-1]])
            if len(walk) < _LENGTH - 2 and rng.random() < _JUMPS:
                following = int(rng.choice(np.setdiff1d(pool, [*walk, following])))
            walk.append(following)
        if len(set(walk)) == _LENGTH:
            return walk


def with_histories(task: RankingTask, histories: Histories) -> RankingTask:
    """The same task, asked by other histories."""
    return replace(task, queries=task.queries.with_histories(histories))


def shuffled(histories: Histories, rng: np.random.Generator) -> Histories:
    """The same histories, each in random order."""
    order = np.lexsort((rng.random(len(histories.items)), histories.queries))
    return Histories(histories.offsets, histories.items[order])


def backwards(histories: Histories) -> Histories:
    """The same histories, the newest event first."""
    order = np.lexsort((-np.arange(len(histories.items)), histories.queries))
    return Histories(histories.offsets, histories.items[order])
