"""From scores to one list: who asks for what, and the rules on cold items."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from warmstart.rank import top_k

_SAMPLE = 16384
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # spreads neighbouring numbers over all of 64 bits


@dataclass(frozen=True)
class Ask:
    """A request for one list.

    Attributes:
        user: external id, as text.
        history: items instead of a user.
        k: length of the list.
        exclude_seen: leave out what the user has interacted with.
        allow: only these items may come.
        deny: these may not.
        cold_share_min, cold_share_max: bounds on the share of cold items in the list.
        explain: say why.
    """

    user: str | None = None
    history: tuple[str, ...] | None = None
    k: int = 10
    exclude_seen: bool = True
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    cold_share_min: float = 0.0
    cold_share_max: float = 1.0
    explain: bool = False


class NothingKnownError(Exception):
    """No user of the model is anything like the one who is asked for."""


@dataclass(frozen=True)
class Hit:
    """One line of a list."""

    item: str
    score: float
    rank: int
    is_cold: bool
    why: dict[str, Any] | None = None


@dataclass(frozen=True)
class Rules:
    """k, bounds on the share of cold items, and the share that one owner's cold items may take."""

    k: int
    cold_share_min: float
    cold_share_max: float
    owner_share: float


def choose(
    scores: np.ndarray,
    is_cold: np.ndarray,
    owner: Callable[[int], str | None],
    rules: Rules,
) -> list[int]:
    """Columns of one list, the best first.

    The best k, but for these rules: no more cold items of one owner than the owner's share; no more
    cold items than the ceiling; no fewer than the floor, which comes before the owner's share.

    Args:
        scores: float32, shape (columns,); NaN is no candidate.
        is_cold: bool, likewise.
        owner: of a column; None where there is none.
        rules: of the list.
    """
    k = rules.k
    cold = _best(scores, is_cold, 4 * k)
    warm = _best(scores, ~is_cold, k)
    per_owner = max(1, floor(rules.owner_share * k))
    taken: Counter[str | None] = Counter()
    fair, rest = [], []
    for column in cold:
        name = owner(column)
        taken[name] += name is not None
        (fair if taken[name] <= per_owner else rest).append(column)
    least, most = ceil(rules.cold_share_min * k), floor(rules.cold_share_max * k)
    if len(fair) < least:
        fair = [column for column in cold if column in {*fair, *rest[: least - len(fair)]}]
    merged = sorted(fair + warm, key=lambda column: -scores[column])
    natural = sum(column in set(fair) for column in merged[:k])
    n_cold = min(max(natural, min(least, len(fair))), most, k)
    kept = fair[:n_cold] + warm[: k - n_cold]
    return sorted(kept, key=lambda column: -scores[column])[:k]


def _best(scores: np.ndarray, side: np.ndarray, k: int) -> list[int]:
    """The k best columns of one side, by ``rank.top_k``; ties in an order that growth keeps."""
    columns = np.flatnonzero(side & (scores >= _bar(scores, side, k)))
    if not len(columns):
        return []
    ties = np.argsort(np.argsort(columns.astype(np.uint64) * _SPREAD))
    found, _ = top_k(np.ascontiguousarray(scores[columns][None]), k, tie_order=ties)
    return columns[found[0][found[0] >= 0]].tolist()


def _bar(scores: np.ndarray, side: np.ndarray, k: int) -> float:
    """A score that at least k of a side reach, and not many more; -inf where so few can."""
    stride = max(1, len(scores) // _SAMPLE)
    if stride > 1:  # a guess from a sample, kept if it holds
        sample = scores[::stride][side[::stride]]
        sample = np.sort(sample[~np.isnan(sample)])
        bar = sample[-min(len(sample), 1 + 4 * k // stride)] if len(sample) else -np.inf
        if (side & (scores >= bar)).sum() >= k:
            return float(bar)
    ranked = scores[side & ~np.isnan(scores)]
    if len(ranked) <= k:
        return -np.inf
    return float(np.partition(ranked, len(ranked) - k)[len(ranked) - k])
