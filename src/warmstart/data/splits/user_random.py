"""``user-random``: hold out random items of each user, as Multi-VAE and CLLM4Rec do."""

import numpy as np

from warmstart.arguments import whole_number
from warmstart.data.dataset import Dataset
from warmstart.data.splits.event_parts import DrawnParts, build_event_split, places_in_history
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.part_codes import TEST, TRAIN, VALID

_SHARE = 0.1  # of a user's items in validation and in test: the published split is 80/10/10
_FEWEST = 3  # items of a user: one for each part


def user_random(dataset: Dataset, *, seed: int = 42) -> EventSplit:
    """Split the items of each user at random, 80/10/10, with at least one in each held-out part.

    Users with fewer than 3 items stay in training. The whole catalogue is ranked. Pairs rated
    below the threshold stay in training too, if their item does.

    Mask "all" leaves out training items and, on test, validation items; "train" leaves validation
    items among the candidates, as the published code does.

    Args:
        dataset: the data set to split; its order and times are not used.
        seed: of the draw.

    Raises:
        ConfigError: ``seed`` is not a whole number from 0.
        DataError: no user has enough items.
    """
    rng = np.random.default_rng(whole_number("user-random", "seed", seed, low=0))
    events = dataset.interactions
    shuffled = rng.permutation(len(events))
    places, counts = places_in_history(events.where(shuffled), dataset.n_users)
    held = np.where(counts < _FEWEST, 0, np.maximum(1, (_SHARE * counts + 1e-9).astype(np.int64)))
    drawn = np.where(places < held, VALID, np.where(places < 2 * held, TEST, TRAIN))
    parts = np.empty(len(events), np.int8)
    parts[shuffled] = drawn
    few = np.unique(events.users[shuffled][counts < _FEWEST])
    manifest = {
        "seed": seed,
        "left_out": {},
        "notes": {"users_with_fewer_than_3_items": len(few)},
    }
    return build_event_split(dataset, "user-random", DrawnParts(parts, manifest))
