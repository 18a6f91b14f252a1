"""``split``: split a data set by the name of a protocol.

``time_cold``
    Three time windows, train < t1 <= validation < t2 <= test. A cold item appears at t1 or later.
``random_cold``
    Cold items drawn at random, exactly as in ColdRec, ColdLLM and FilterLLM.
``read_published_split``
    Parts read from published files in the ColdRec layout.

Definitions: docs/evaluation.md.
"""

from pathlib import Path
from typing import get_args

from warmstart.data.dataset import Dataset
from warmstart.data.splits.cold import Protocol, Split
from warmstart.data.splits.random_cold import random_cold, read_published_split
from warmstart.data.splits.time_cold import Times, time_cold
from warmstart.errors import ConfigError


def split(
    dataset: Dataset,
    protocol: Protocol | None = None,
    *,
    cutoff: Times | None = None,
    fractions: tuple[float, float] = (0.8, 0.9),
    seed: int = 42,
    parts: Path | str | None = None,
) -> Split:
    """Split a data set into training, validation and test parts.

    Args:
        dataset: the data set to split.
        protocol: "time-cold" or "random-cold". None means "time-cold" if the interactions have
            times on a common clock and ``parts`` is None, else "random-cold".
        cutoff: time-cold: the end of training and the end of validation; see ``time_cold``.
        fractions: time-cold without ``cutoff``; see ``time_cold``.
        seed: random-cold; a whole number from 0 to 4294967295.
        parts: random-cold: a folder with published parts; see ``read_published_split``.

    Raises:
        ConfigError: an argument does not apply to the protocol, or is outside its limits.
        DataError: see ``time_cold``, ``random_cold`` and ``read_published_split``.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    if protocol is None:
        timed = dataset.interactions.times is not None and dataset.clock == "unix"
        protocol = "time-cold" if timed and parts is None else "random-cold"
    if protocol not in get_args(Protocol):
        raise ConfigError(f"protocol {protocol!r}; allowed: {', '.join(get_args(Protocol))}")
    wrong = parts if protocol == "time-cold" else cutoff
    if wrong is not None:
        name = "parts" if protocol == "time-cold" else "cutoff"
        raise ConfigError(f"{name} = {wrong!r} does not apply to the protocol {protocol!r}")
    if protocol == "time-cold":
        return time_cold(dataset, cutoffs=cutoff, fractions=fractions)
    return (
        random_cold(dataset, seed=seed)
        if parts is None
        else read_published_split(dataset, Path(parts))
    )
