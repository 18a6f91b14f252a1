"""Histories that walk on a cycle: the next item is known.

The even items stand on one cycle and the odd ones on another, in an order that neither ids nor rows
tell. A history starts anywhere on the cycle of its parity and takes one step after the other, so
its items are an arc. Every item starts equally many histories. Hence

- who knows the cycle and the last item names the next one: hit@1 is 1;
- who reads a history as a set sees the arc, but not its direction, and takes either of its two
  neighbours: hit@1 is ``SET_HIT`` on average;
- who takes a reversed history for the true one walks back into it: hit@1 is at most chance.
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

SET_HIT = 0.5
"""Expected hit@1 of a method that reads histories as sets."""
_LENGTH = 7  # events of a history; the last is the test, the one before it validation


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


def cycle_world(*, n_items: int = 24, per_start: int = 4, seed: int = 0) -> CycleWorld:
    """Make walks on two cycles.

    Args:
        n_items: number of items, half of them even; an even number.
        per_start: number of users whose walk starts at each item.
        seed: seed of all random choices.
    """
    rng = np.random.default_rng(seed)
    numbers, n_users = rng.permutation(n_items), n_items * per_start
    successors = np.empty(n_items, np.int32)
    for parity in (0, 1):
        places = rng.permutation(np.flatnonzero(numbers % 2 == parity))
        successors[places] = np.roll(places, -1)
    walks = [rng.permutation(np.repeat(np.arange(n_items), per_start))]
    while len(walks) < _LENGTH:
        walks.append(successors[walks[-1]])
    dataset = Dataset(
        "cycle",
        external_ids("user", "str", range(n_users)),
        numbered_items(numbers, rng),
        Interactions.from_arrays(
            np.repeat(np.arange(n_users), _LENGTH),
            np.stack(walks, axis=1).ravel(),
            times=np.tile(np.arange(_LENGTH), n_users),
        ),
        clock="position",
    )
    return CycleWorld(next_item(dataset), successors)


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
