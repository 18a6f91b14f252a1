"""Build a checked ColdSplit from events selected by mask or by row number."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.splits.base import Protocol, versions
from warmstart.data.splits.check import check_split
from warmstart.data.splits.cold import ColdSplit
from warmstart.errors import DataError


def build_split(
    dataset: Dataset,
    protocol: Protocol,
    parts: Mapping[str, np.ndarray],
    candidates: dict[str, np.ndarray],
    manifest: dict[str, Any],
) -> ColdSplit:
    """Build the ColdSplit whose parts are the given events, and check it.

    Args:
        dataset: the data set to split.
        protocol: the protocol that drew the parts.
        parts: part name -> its events, as a bool mask or as row numbers.
        candidates: "valid" and "test" -> cold items to rank, int row numbers.
        manifest: how the split was made, see ``Split``; ``versions`` are added to it.

    Raises:
        DataError: a part is empty, or the split breaks a rule of ``check_split``.
    """
    rows = {
        name: np.flatnonzero(chosen) if chosen.dtype == bool else np.sort(chosen)
        for name, chosen in parts.items()
    }
    empty = [name for name, chosen in rows.items() if not len(chosen)]
    if empty:
        times = dataset.interactions.times
        hint = (
            f"cutoffs are {' and '.join(map(_date, manifest['cutoffs']))}, interactions run from "
            f"{_date(times.min())} to "
            f"{_date(times.max())}; choose others by cutoff or fractions"
            if protocol == "time-cold" and times is not None
            else f"{len(dataset.interactions)} interactions are too few"
        )
        raise DataError(f"{dataset.name}: {protocol} leaves {', '.join(empty)} empty; {hint}")
    chosen = {name: dataset.interactions.where(part) for name, part in rows.items()}
    manifest["versions"] = versions()
    split = ColdSplit(
        dataset,
        protocol,
        chosen["train"],
        chosen["warm_valid"],
        chosen["warm_test"],
        chosen["cold_valid"],
        chosen["cold_test"],
        {part: rows.astype(np.int32) for part, rows in candidates.items()},
        overall_users="any" if protocol == "time-cold" else "both",
        manifest=manifest,
    )
    check_split(split)
    return split


def _date(seconds: int) -> str:
    """A unix time with its date."""
    minute = np.datetime64(int(seconds), "s").astype("datetime64[m]")
    return f"{seconds} ({str(minute).replace('T', ' ')})"
