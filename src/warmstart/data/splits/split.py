"""``split``: a split by the name of its protocol.

``time_cold``
    Three windows in time, train < t1 <= validation < t2 <= test. A cold item appears after t1.
``random_cold``
    Items drawn at random: the procedure of ColdRec, ColdLLM and FilterLLM, number for number.
``published``
    The parts as somebody else has drawn them, from files in that layout.

Definitions: docs/evaluation.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from warmstart.data.dataset import Dataset
from warmstart.data.splits.cold import Protocol, Split
from warmstart.data.splits.random_cold import published, random_cold
from warmstart.data.splits.time_cold import read_cutoffs, time_cold
from warmstart.errors import ConfigError


def split(
    dataset: Dataset,
    protocol: Protocol | None = None,
    *,
    cutoff: int | str | Sequence[int | str] | None = None,
    fractions: tuple[float, float] = (0.8, 0.9),
    seed: int = 42,
    parts: Path | str | None = None,
) -> Split:
    """A split by the name of its protocol.

    Args:
        dataset: what to split.
        protocol: "time-cold" where the interactions have times of a common clock, else
            "random-cold", where None.
        cutoff: time-cold: the end of training and the end of validation, as unix seconds or ISO
            dates. Of one only, validation ends where half of the rest has passed.
        fractions: time-cold without ``cutoff``; see ``time_cold``.
        seed: random-cold; see ``random_cold``.
        parts: random-cold: a folder with the parts as published; see ``published``.

    Raises:
        ConfigError: an argument does not fit the protocol.
        DataError: see the three functions.
    """
    if protocol is None:
        timed = dataset.interactions.times is not None and dataset.clock == "unix"
        protocol = "time-cold" if timed and parts is None else "random-cold"
    if protocol not in get_args(Protocol):
        raise ConfigError(f"protocol {protocol!r}; allowed: {', '.join(get_args(Protocol))}")
    wrong = parts if protocol == "time-cold" else cutoff
    if wrong is not None:
        name = "parts" if protocol == "time-cold" else "cutoff"
        raise ConfigError(f"{name} = {wrong!r} does not go with the protocol {protocol}")
    if protocol == "time-cold":
        cutoffs = None if cutoff is None else read_cutoffs(dataset, cutoff)
        return time_cold(dataset, cutoffs=cutoffs, fractions=fractions)
    return random_cold(dataset, seed=seed) if parts is None else published(dataset, Path(parts))
