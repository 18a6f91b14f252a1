"""Splits by time: items that appear after the end of training are cold."""

from collections.abc import Sequence
from datetime import date
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from warmstart.data.cells import argument_cells
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.splits.cold import Split
from warmstart.data.splits.parts import build_split
from warmstart.data.values import read_times
from warmstart.errors import ConfigError, DataError
from warmstart.process import check_process

Times: TypeAlias = int | str | date | Sequence[int | str | date]
"""One or two times: unix seconds, ISO 8601 text or dates (UTC if without a zone)."""


def time_cold(
    dataset: Dataset,
    *,
    cutoffs: Times | None = None,
    fractions: tuple[float, float] = (0.8, 0.9),
) -> Split:
    """Split by time: train < t1 <= validation < t2 <= test.

    An item is warm if it has a training interaction. Any other item appears at its first
    interaction or, if it has none, at its release if that is known; it is cold in the window in
    which it appears. An item that appears in the validation window is not a candidate on test,
    neither warm nor cold, so its test interactions are left out. Held-out interactions of users
    without training interactions are left out too. ``manifest["left_out"]`` counts both.

    Args:
        dataset: a data set with unix times.
        cutoffs: t1 and t2, or only t1; then t2 is the time at which half of the later interactions
            have happened. A time may have any form that data may have, such as unix seconds or
            ISO 8601.
        fractions: if ``cutoffs`` is None: the fractions of the interactions, in order of time, that
            come before t1 and before t2. Interactions in the same second stay together.

    Raises:
        ConfigError: cutoffs or fractions are not as above, or out of order.
        DataError: the data have no times on a common clock, or a part would be empty.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    check_process()
    events = dataset.interactions
    times = _common_times(dataset)
    first_cut, second_cut = (
        _cutoffs_at(times, fractions) if cutoffs is None else _read_cutoffs(times, cutoffs)
    )
    if not first_cut < second_cut:
        raise ConfigError(
            f"cutoffs {first_cut}, {second_cut}; allowed: two times, the first before the second"
        )
    train, test = times < first_cut, times >= second_cut
    valid = ~train & ~test
    warm_item = np.isin(np.arange(dataset.n_items), events.items[train])
    appears = _appearance(dataset, times)
    cold_in_valid = ~warm_item & (appears >= first_cut) & (appears < second_cut)
    cold_in_test = ~warm_item & (appears >= second_cut) & (appears <= times.max())
    cold = cold_in_valid | cold_in_test
    known = np.isin(events.users, events.users[train])
    stale = test & known & cold_in_valid[events.items]
    parts = {
        "train": train,
        "warm_valid": valid & known & warm_item[events.items],
        "warm_test": test & known & warm_item[events.items],
        "cold_valid": valid & known & cold_in_valid[events.items],
        "cold_test": test & known & cold_in_test[events.items],
    }
    manifest = {
        "cutoffs": [int(first_cut), int(second_cut)],
        "left_out": {
            "of_users_without_training": int((~known).sum()),
            "at_test_of_items_new_in_validation": int(stale.sum()),
        },
        "notes": {
            "users_without_training_left_out": len(np.unique(events.users[~known])),
            "items_new_in_validation_no_candidates_at_test": int(cold_in_valid.sum()),
            "items_never_interacted_no_candidates": int((~dataset.warm & ~cold).sum()),
            "share_of_interactions_at_a_second_the_user_has_already": _tied_fraction(events, times),
        },
    }
    candidates = {"valid": np.flatnonzero(cold_in_valid), "test": np.flatnonzero(cold_in_test)}
    return build_split(dataset, "time-cold", parts, candidates, manifest)


def _read_cutoffs(times: np.ndarray, cutoffs: Any) -> tuple[int, int]:
    """Read t1 and t2; if only t1 is given, half of the interactions after it come before t2.

    Raises:
        ConfigError: a value is not a time, there are more than two, or no interaction follows.
    """
    several = isinstance(cutoffs, list | tuple | np.ndarray | pl.Series)
    cuts = [_unix_seconds(value) for value in (cutoffs if several else [cutoffs])]
    if len(cuts) == 1:
        later = np.sort(times[times >= cuts[0]])
        if not len(later):
            raise ConfigError(
                f"cutoff {cutoffs!r}; allowed: a time with interactions at or after it"
            )
        cuts.append(int(later[len(later) // 2]))
    if len(cuts) != 2:
        raise ConfigError(f"cutoff {cutoffs!r}; allowed: one time, or two")
    return cuts[0], cuts[1]


def _common_times(dataset: Dataset) -> np.ndarray:
    times = dataset.interactions.times
    if times is None or dataset.clock != "unix":
        have = "no times" if times is None else "positions in each user's own sequence only"
        raise DataError(
            f"{dataset.name} has {have}; time-cold needs a timestamp that orders the interactions "
            "of all users; use random-cold"
        )
    if not len(times):
        raise DataError(f"{dataset.name} has no interactions to split")
    return times


def _unix_seconds(value: Any) -> int:
    try:
        return int(read_times(argument_cells([value], "split", "cutoff"))[0])
    except DataError as error:
        raise ConfigError(str(error)) from None


def _cutoffs_at(times: np.ndarray, fractions: tuple[float, float]) -> tuple[int, int]:
    try:
        first, second = (float(fraction) for fraction in fractions)
    except (TypeError, ValueError):
        first = second = 0.0
    if not 0 < first < second < 1:
        raise ConfigError(f"fractions {fractions!r}; allowed: two numbers, 0 < first < second < 1")
    ordered = np.sort(times)
    return int(ordered[int(first * len(times))]), int(ordered[int(second * len(times))])


def _appearance(dataset: Dataset, times: np.ndarray) -> np.ndarray:
    """Compute when each item appears: int64 unix seconds, shape (n_items,); lowest if unknown."""
    first = np.full(dataset.n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, dataset.interactions.items, times)
    otherwise = np.full(dataset.n_items, np.iinfo(np.int64).min)
    released = dataset.catalogue.released
    if released is not None:
        otherwise = np.where(released == -1, otherwise, released)
    return np.where(dataset.warm, first, otherwise)


def _tied_fraction(events: Interactions, times: np.ndarray) -> float:
    """Fraction of interactions in the same second as an earlier one of the same user."""
    moments = np.unique(np.stack([events.users, times]), axis=1)
    return 1 - moments.shape[1] / len(events)
