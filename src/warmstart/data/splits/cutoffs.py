"""Times at which training and validation end, and when items appear."""

from collections.abc import Sequence
from datetime import date
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from warmstart.data.cells import argument_cells
from warmstart.data.dataset import Dataset
from warmstart.data.values import read_times
from warmstart.errors import ConfigError, DataError

Times: TypeAlias = int | str | date | Sequence[int | str | date]
"""One or two times: unix seconds, ISO 8601 text or dates (UTC if without a zone)."""
FRACTIONS = (0.8, 0.9)
"""Default fractions of the events that come before the end of training and of validation."""


def common_times(dataset: Dataset, protocol: str, instead: str) -> np.ndarray:
    """Return the times of the interactions, on a clock that all users share.

    Args:
        dataset: the data set.
        protocol: the protocol that needs the times.
        instead: a protocol that needs none, to suggest in the message.

    Raises:
        DataError: there are no such times, or no interactions.
    """
    times = dataset.interactions.times
    if times is None or dataset.clock != "unix":
        have = "no times" if times is None else "positions in each user's own sequence only"
        raise DataError(
            f"{dataset.name} has {have}; {protocol} needs a timestamp that orders the interactions "
            f"of all users; use {instead}"
        )
    if not len(times):
        raise DataError(f"{dataset.name} has no interactions to split")
    return times


def cutoffs_of(
    times: np.ndarray, cutoffs: Times | None, fractions: tuple[float, float]
) -> tuple[int, int]:
    """Compute t1 and t2, the ends of training and of validation, in unix seconds.

    Args:
        times: times of all interactions.
        cutoffs: t1 and t2, or only t1; then half of the interactions at or after it come before t2.
            None uses ``fractions``.
        fractions: fractions of the interactions, in order of time, before t1 and before t2.

    Raises:
        ConfigError: a value is not a time, there are more than two, no interaction follows, or the
            times or fractions are out of order.
    """
    first, second = _at_fractions(times, fractions) if cutoffs is None else _read(times, cutoffs)
    if not first < second:
        raise ConfigError(
            f"cutoffs {first}, {second}; allowed: two times, the first before the second"
        )
    return first, second


def two_fractions(fractions: Any) -> tuple[float, float]:
    """Check fractions at which training and validation end.

    Raises:
        ConfigError: they are not two numbers, or out of order.
    """
    try:
        first, second = (float(fraction) for fraction in fractions)
    except (TypeError, ValueError):
        first = second = 0.0
    if not 0 < first < second < 1:
        raise ConfigError(f"fractions {fractions!r}; allowed: two numbers, 0 < first < second < 1")
    return first, second


def appearance(dataset: Dataset, times: np.ndarray) -> np.ndarray:
    """Compute when each item appears: int64 unix seconds, shape (n_items,); lowest if unknown.

    An item appears at its first interaction or, if it has none, at its release.
    """
    first = np.full(dataset.n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, dataset.interactions.items, times)
    otherwise = np.full(dataset.n_items, np.iinfo(np.int64).min)
    released = dataset.catalogue.released
    if released is not None:
        otherwise = np.where(released == -1, otherwise, released)
    return np.where(dataset.warm, first, otherwise)


def tied_fraction(users: np.ndarray, times: np.ndarray) -> float:
    """Fraction of events in the same second as another, earlier counted one of the same user."""
    moments = np.unique(np.stack([users, times]), axis=1)
    return 1 - moments.shape[1] / len(users)


def _read(times: np.ndarray, cutoffs: Any) -> tuple[int, int]:
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


def _unix_seconds(value: Any) -> int:
    try:
        return int(read_times(argument_cells([value], "split", "cutoff"))[0])
    except DataError as error:
        raise ConfigError(str(error)) from None


def _at_fractions(times: np.ndarray, fractions: tuple[float, float]) -> tuple[int, int]:
    first, second = two_fractions(fractions)
    ordered = np.sort(times)
    return int(ordered[int(first * len(times))]), int(ordered[int(second * len(times))])
