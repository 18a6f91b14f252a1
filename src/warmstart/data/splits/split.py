"""``split``: split a data set by the name of a protocol.

``time-cold``
    Three time windows, train < t1 <= validation < t2 <= test. A cold item appears at t1 or later.
``random-cold``
    Cold items drawn at random, exactly as in ColdRec, ColdLLM and FilterLLM, or published parts.
``next-item``
    The next interaction of a history: leave-one-out, or by global time.
``user-random``
    Random items of each user, as in Multi-VAE and CLLM4Rec.
``windows``
    The last items of a window of a history, from its first items, as in DLCRec.
``dialogues``
    The items that a turn of a conversation recommends, as in RTA.
``labels``
    Whether a user likes an item, as in ExpCTR and CoLLM.

Definitions: docs/evaluation.md.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from warmstart.data.dataset import Dataset
from warmstart.data.splits.base import Protocol, Split, check_word
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.splits.cutoffs import Times
from warmstart.data.splits.dialogues import dialogues
from warmstart.data.splits.labels import labels
from warmstart.data.splits.next_in_time import Targets
from warmstart.data.splits.next_item import By, next_item
from warmstart.data.splits.random_cold import random_cold, read_published_split
from warmstart.data.splits.time_cold import time_cold
from warmstart.data.splits.user_random import user_random
from warmstart.data.splits.windows import windows
from warmstart.errors import ConfigError


def split(
    dataset: Dataset,
    protocol: Protocol | None = None,
    *,
    cutoff: Times | None = None,
    fractions: tuple[float, float] | None = None,
    seed: int | None = None,
    parts: Any = None,
    by: By | None = None,
    targets: Targets | None = None,
    cold_items: float | None = None,
    cold_users: int | None = None,
    few_shot: int | None = None,
    cross_domain: Dataset | None = None,
    candidates: str | None = None,
    n_history: int | None = None,
    n_future: int | None = None,
    stride: int | None = None,
    threshold: float | None = None,
) -> Split:
    """Split a data set into training, validation and test parts.

    An option that is None has the default of the protocol's own function, where it is described.

    Args:
        dataset: the data set to split.
        protocol: name of the protocol. None means "time-cold" if the interactions have times on a
            common clock and ``parts`` is None, else "random-cold".
        cutoff: time-cold, next-item by time: the end of training and the end of validation.
        fractions: the same, without ``cutoff``: the fractions of the interactions that come before
            them, (0.8, 0.9) by default; labels: the fractions of each user's ratings.
        seed: random-cold, next-item, user-random, dialogues: 42 by default.
        parts: published parts; random-cold: a folder, see ``read_published_split``; windows: the
            users of each part; labels: the part of each rating.
        by: next-item: "last" or "time".
        targets: next-item by time: "first" or "each".
        cold_items: next-item: share of the items that are withheld from training.
        cold_users: next-item: users with at most this many interactions are withheld.
        few_shot: next-item: number of users who train.
        cross_domain: next-item: another data set, whose users and items are those of the test.
        candidates: next-item: frozen candidates, such as "uni19" or "pop99".
        n_history: windows: items of a window that ask, 10 by default.
        n_future: windows: items of a window that are asked for, 10 by default.
        stride: windows: items between the starts of two training windows.
        threshold: labels: lowest rating of a liked item.

    Raises:
        ConfigError: an argument does not apply to the protocol, or is outside its limits.
        DataError: the data lack what the protocol needs, or a part would be empty.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    options = {
        "cutoff": cutoff,
        "fractions": fractions,
        "seed": seed,
        "parts": parts,
        "by": by,
        "targets": targets,
        "cold_items": cold_items,
        "cold_users": cold_users,
        "few_shot": few_shot,
        "cross_domain": cross_domain,
        "candidates": candidates,
        "n_history": n_history,
        "n_future": n_future,
        "stride": stride,
        "threshold": threshold,
    }
    if protocol is None:
        timed = dataset.interactions.times is not None and dataset.clock == "unix"
        protocol = "time-cold" if timed and parts is None else "random-cold"
    check_word("protocol", protocol, get_args(Protocol))
    make, allowed = _PROTOCOLS[protocol]
    given = {name: value for name, value in options.items() if value is not None}
    _refuse_others(protocol, given, allowed)
    if "cutoff" in given:
        given["cutoffs"] = given.pop("cutoff")
    return make(dataset, **given)


def _refuse_others(protocol: Protocol, given: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for name, value in given.items():
        if name not in allowed:
            raise ConfigError(
                f"{name} = {value!r} does not apply to the protocol {protocol!r}; its options: "
                f"{', '.join(allowed)}"
            )


def _random_cold(
    dataset: Dataset, *, seed: int | None = None, parts: Path | str | None = None
) -> ColdSplit:
    if parts is None:
        return random_cold(dataset, seed=42 if seed is None else seed)
    if seed is not None:
        raise ConfigError(f"seed = {seed!r} does not apply to published parts")
    return read_published_split(dataset, Path(parts))


# Protocol -> its function, and the options of ``split`` that it takes.
_PROTOCOLS: dict[Protocol, tuple[Callable[..., Split], tuple[str, ...]]] = {
    "time-cold": (time_cold, ("cutoff", "fractions")),
    "random-cold": (_random_cold, ("seed", "parts")),
    "next-item": (
        next_item,
        (
            "by",
            "cutoff",
            "fractions",
            "targets",
            "cold_items",
            "cold_users",
            "few_shot",
            "cross_domain",
            "candidates",
            "seed",
        ),
    ),
    "user-random": (user_random, ("seed",)),
    "windows": (windows, ("parts", "n_history", "n_future", "stride")),
    "dialogues": (dialogues, ("seed",)),
    "labels": (labels, ("threshold", "fractions", "parts")),
}
