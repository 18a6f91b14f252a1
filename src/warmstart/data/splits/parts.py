"""A checked Split from events selected by mask or by row number."""

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.splits.check import check_split
from warmstart.data.splits.cold import Protocol, Split
from warmstart.errors import DataError
from warmstart.version import __version__


def split_of_parts(
    dataset: Dataset,
    protocol: Protocol,
    parts: Mapping[str, np.ndarray],
    candidates: dict[str, np.ndarray],
    manifest: dict[str, Any],
) -> Split:
    """The Split whose parts are the given events, checked.

    Args:
        dataset: what is split.
        protocol: how it is split.
        parts: by name the events of each part, as a bool mask or as row numbers.
        candidates: for "valid" and "test" the cold items ranked, int row numbers.
        manifest: how the split was made; see ``Split``.

    Raises:
        DataError: a part is empty, or the split breaks one of its rules.
    """
    rows = {
        name: np.flatnonzero(chosen) if chosen.dtype == bool else np.sort(chosen)
        for name, chosen in parts.items()
    }
    empty = [name for name, chosen in rows.items() if not len(chosen)]
    if empty:
        hint = (
            f"cutoffs are {manifest['cutoffs']}; choose others"
            if protocol == "time-cold"
            else f"{len(dataset.interactions)} interactions are too few"
        )
        raise DataError(f"{dataset.name}: {protocol} leaves {', '.join(empty)} empty; {hint}")
    chosen = {name: dataset.interactions.where(part) for name, part in rows.items()}
    manifest["versions"] = {
        "warmstart": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    split = Split(
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
