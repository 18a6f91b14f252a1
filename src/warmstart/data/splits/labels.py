"""``labels``: predict whether a user likes an item, from the ratings before."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.ratings import Ratings
from warmstart.data.splits.base import versions
from warmstart.data.splits.check import check_split
from warmstart.data.splits.cutoffs import FRACTIONS, tied_fraction, two_fractions
from warmstart.data.splits.event_parts import refuse_empty
from warmstart.data.splits.label_split import LabelSplit, by_threshold
from warmstart.data.splits.part_codes import (
    HISTORY,
    LEFT_OUT,
    TEST,
    TRAIN,
    VALID,
    part_codes,
)
from warmstart.data.splits.sequences import repeated
from warmstart.errors import ConfigError, DataError


def labels(
    dataset: Dataset,
    *,
    threshold: float | None = None,
    fractions: tuple[float, float] | None = None,
    parts: Sequence[str | None] | None = None,
) -> LabelSplit:
    """Split the ratings of each user by time, or take the published parts.

    Ratings of equal time stand in the order of the data, and the manifest states their share: a
    history may have ratings of the very second of its target. A held-out rating of a pair that the
    user rated before is not asked for, since the history would hold the item.

    Args:
        dataset: a data set with ratings and, without ``parts``, their order.
        threshold: lowest rating of a liked item; that of the data set if None. It replaces the one
            of the data set, and so changes which ratings are positives.
        fractions: the fractions of a user's ratings, rounded down, that come before validation and
            before test; (0.8, 0.9) if None. Every user has at least one rating in training.
        parts: the published part of each rating, "train", "valid" or "test"; None leaves it out.

    Raises:
        ConfigError: the fractions are out of order, or are given together with ``parts``.
        DataError: the data have no ratings, no threshold or no order; the number of parts differs
            from that of the ratings; a part would be empty; or training has ratings of a user
            after held-out ones.
    """
    ratings, threshold = _rated(dataset, threshold)
    if parts is not None:
        if fractions is not None:
            raise ConfigError("labels: fractions do not apply to published parts")
        if len(parts) != len(ratings):
            raise DataError(
                f"labels: {len(parts)} parts for {len(ratings)} ratings; allowed: one for each"
            )
        codes = part_codes(parts)
    else:
        codes = _by_time(dataset, ratings, two_fractions(fractions or FRACTIONS))
    repeats = repeated(ratings.users, ratings.items) & np.isin(codes, (VALID, TEST))
    codes[repeats] = HISTORY
    positives, below = by_threshold(ratings, threshold)
    dataset = replace(
        dataset, interactions=positives, below_threshold=below, positive_rating=threshold
    )
    for name, rows in (("liked", positives), ("disliked", below)):
        if len(rows) == 0:
            raise DataError(
                f"{dataset.name}: threshold = {threshold:g} leaves no {name} item; the ratings "
                f"range from {ratings.values.min():g} to {ratings.values.max():g}"
            )
    refuse_empty(dataset, "labels", codes)
    notes: dict[str, float] = {}
    if ratings.times is not None:
        notes["share_of_ratings_at_a_time_the_user_has_already"] = tied_fraction(
            ratings.users, ratings.times
        )
    held = np.isin(codes, (VALID, TEST))
    unknown = ~np.isin(ratings.users[held], ratings.users[codes == TRAIN])
    notes["held_out_ratings_of_users_without_training"] = int(unknown.sum())
    notes["held_out_ratings_of_pairs_rated_before_not_asked_for"] = int(repeats.sum())
    manifest = {
        "threshold": threshold,
        "published": parts is not None,
        "fractions": None if parts is not None else list(fractions or FRACTIONS),
        "left_out": {"in_no_published_part": int((codes == LEFT_OUT).sum())},
        "notes": notes,
        "versions": versions(),
    }
    split = LabelSplit(dataset, codes, manifest)
    check_split(split)
    return split


def _rated(dataset: Dataset, threshold: float | None) -> tuple[Ratings, float]:
    if dataset.ratings is None:
        raise DataError(f"{dataset.name} has no ratings; labels need liked and disliked items")
    if threshold is None:
        threshold = dataset.positive_rating
    if threshold is None:
        raise DataError(
            f"{dataset.name} has no positive_rating; give the lowest rating of a liked item as "
            "threshold"
        )
    if isinstance(threshold, bool) or not np.isfinite(threshold):
        raise ConfigError(f"labels: threshold must be a finite number, got {threshold!r}")
    return dataset.ratings, float(threshold)


def _by_time(dataset: Dataset, ratings: Ratings, fractions: tuple[float, float]) -> np.ndarray:
    if ratings.times is None:
        raise DataError(
            f"{dataset.name} has neither times nor positions; labels need the order of each "
            "user's ratings, or published parts"
        )
    counts = np.bincount(ratings.users, minlength=dataset.n_users)
    places = np.arange(len(ratings)) - (np.cumsum(counts) - counts)[ratings.users]
    # The small number keeps 0.7 * 10 from being rounded down to 6.
    first, second = (np.floor(counts * f + 1e-9).astype(np.int64) for f in fractions)
    first = np.maximum(first, 1)
    codes = np.where(places < first[ratings.users], TRAIN, VALID)
    later = places >= np.maximum(second, first)[ratings.users]
    return np.where(later, TEST, codes).astype(np.int8)
