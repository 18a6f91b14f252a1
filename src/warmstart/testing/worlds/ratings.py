"""Ratings: users like items of their parity and dislike the others, each time with some noise.

The probability that a user likes an item is known: ``1 - noise`` for the user's parity, ``noise``
for the other. So the best possible AUC, log loss and calibration are known too. Parity decides
alone: all users like half of the items, and all items are liked by half of the users.
"""

from dataclasses import dataclass, replace

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.ratings import Ratings
from warmstart.data.splits.label_split import LabelSplit, by_threshold
from warmstart.data.splits.labels import labels
from warmstart.data.splits.part_codes import TEST
from warmstart.data.tasks import LabelTask
from warmstart.testing.worlds.items import external_ids, numbered_items

THRESHOLD = 4.0
_FRACTIONS = (0.6, 0.8)


@dataclass(frozen=True)
class RatingsWorld:
    """Ratings with the true probabilities of likes.

    Attributes:
        split: by the protocol "labels".
        user_parity: 0 even, 1 odd; int64, shape (n_users,).
        item_parity: 0 even, 1 odd; int64, shape (n_items,).
        noise: probability that a rating contradicts parity.
    """

    split: LabelSplit
    user_parity: np.ndarray
    item_parity: np.ndarray
    noise: float

    @property
    def test(self) -> LabelTask:
        """The test task."""
        task = self.split.tasks("test")["all"]
        assert isinstance(task, LabelTask)
        return task

    def same_parity(self, task: LabelTask) -> np.ndarray:
        """Whether user and item of each pair have the same parity: bool, shape (pairs,)."""
        return self.user_parity[task.groups] == self.item_parity[task.items]

    def ideal_probabilities(self, task: LabelTask) -> np.ndarray:
        """The true probability of each label: float32, shape (pairs,)."""
        same = self.same_parity(task)
        return np.where(same, 1 - self.noise, self.noise).astype(np.float32)

    @property
    def ideal_auc(self) -> float:
        """Expected AUC of the true probabilities."""
        return 1 - self.noise

    @property
    def ideal_log_loss(self) -> float:
        """Expected log loss of the true probabilities: the entropy of a label."""
        p = self.noise
        return float(-p * np.log(p) - (1 - p) * np.log(1 - p))

    def with_other_test_ratings(self) -> "RatingsWorld":
        """The same world, but every test rating is of the other kind."""
        ratings = self.split.ratings
        liked = ratings.labels(THRESHOLD) ^ (self.split.parts == TEST)
        changed = replace(ratings, values=_values(liked))
        positives, below = by_threshold(changed, THRESHOLD)
        dataset = replace(
            self.split.dataset, interactions=positives, below_threshold=below, ratings=changed
        )
        return replace(self, split=replace(self.split, dataset=dataset))


def ratings_world(
    *, n_users: int = 64, n_items: int = 60, per_user: int = 50, noise: float = 0.15, seed: int = 0
) -> RatingsWorld:
    """Make ratings: of each user's, the first 60 % train, then 20 % validate and 20 % test.

    Args:
        n_users: number of users, half of them even.
        n_items: number of items, half of them even.
        per_user: number of items that each user rates, in random order.
        noise: probability that a rating contradicts parity; 0.5 leaves nothing to learn.
        seed: seed of all random choices.
    """
    rng = np.random.default_rng(seed)
    user_numbers, item_numbers = rng.permutation(n_users), rng.permutation(n_items)
    users = np.repeat(np.arange(n_users, dtype=np.int32), per_user)
    items = np.concatenate([rng.permutation(n_items)[:per_user] for _ in range(n_users)])
    liked = user_numbers[users] % 2 == item_numbers[items] % 2
    liked ^= rng.random(len(liked)) < noise
    times = np.tile(np.arange(per_user, dtype=np.int64), n_users)
    ratings = Ratings(users, items.astype(np.int32), _values(liked), times)
    positives, below = by_threshold(ratings, THRESHOLD)
    dataset = Dataset(
        "ratings",
        external_ids("user", "str", user_numbers.tolist()),
        numbered_items(item_numbers, rng),
        positives,
        clock="position",
        below_threshold=below,
        ratings=ratings,
        positive_rating=THRESHOLD,
    )
    split = labels(dataset, fractions=_FRACTIONS)
    return RatingsWorld(split, user_numbers % 2, item_numbers % 2, noise)


def _values(liked: np.ndarray) -> np.ndarray:
    return np.where(liked, 5, 2).astype(np.float32)
