"""From scores to one list: the request, and the rules on cold items."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from warmstart.rank import top_k

_SAMPLE_SIZE = 16384
_HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # spreads neighbouring numbers over all of 64 bits


@dataclass(frozen=True)
class ListRequest:
    """A request for one list.

    Attributes:
        user: external id, as text.
        history: external ids of items, instead of a user.
        k: length of the list.
        exclude_seen: leave out items that the user has interacted with.
        allow: only these items may be in the list.
        deny: these items may not be in the list.
        cold_share_min, cold_share_max: bounds on the fraction of cold items in the list.
        explain: give the evidence for each item.
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


class UnknownUserError(Exception):
    """The user is unknown and no known user shares an item with the given history."""


@dataclass(frozen=True)
class Hit:
    """One line of a list."""

    item: str
    score: float
    rank: int
    is_cold: bool
    evidence: dict[str, Any] | None = None


@dataclass(frozen=True)
class ListRules:
    """Length of a list and bounds on what is in it, as fractions of the list.

    Attributes:
        k: length.
        cold_share_min, cold_share_max: bounds on cold items.
        max_owner_share: bound on the cold items of one owner.
    """

    k: int
    cold_share_min: float
    cold_share_max: float
    max_owner_share: float


def select_list(
    scores: np.ndarray,
    is_cold: np.ndarray,
    owner: Callable[[int], str | None],
    rules: ListRules,
) -> list[int]:
    """Columns of one list, the best first.

    The best k under these rules: no more cold items of one owner than ``max_owner_share``, no more
    cold items than ``cold_share_max``, no fewer than ``cold_share_min``, which takes precedence
    over ``max_owner_share``.

    Args:
        scores: float32, shape (columns,); NaN cannot be in the list.
        is_cold: bool, shape (columns,).
        owner: the owner of a column; None if it has none.
        rules: of the list.
    """
    k = rules.k
    cold = _best(scores, is_cold, 4 * k)
    warm = _best(scores, ~is_cold, k)
    per_owner = max(1, floor(rules.max_owner_share * k))
    taken: Counter[str | None] = Counter()
    within, rest = [], []
    for column in cold:
        name = owner(column)
        taken[name] += name is not None
        (within if taken[name] <= per_owner else rest).append(column)
    least, most = ceil(rules.cold_share_min * k), floor(rules.cold_share_max * k)
    if len(within) < least:
        within = [column for column in cold if column in {*within, *rest[: least - len(within)]}]
    merged = sorted(within + warm, key=lambda column: -scores[column])
    natural = sum(column in set(within) for column in merged[:k])
    n_cold = min(max(natural, min(least, len(within))), most, k)
    kept = within[:n_cold] + warm[: k - n_cold]
    return sorted(kept, key=lambda column: -scores[column])[:k]


def _best(scores: np.ndarray, side: np.ndarray, k: int) -> list[int]:
    """The k best columns of one side, by ``rank.top_k``; new columns do not reorder ties."""
    columns = np.flatnonzero(side & (scores >= _threshold(scores, side, k)))
    if not len(columns):
        return []
    ties = np.argsort(np.argsort(columns.astype(np.uint64) * _HASH_MULTIPLIER))
    found, _ = top_k(np.ascontiguousarray(scores[columns][None]), k, tie_order=ties)
    return columns[found[0][found[0] >= 0]].tolist()


def _threshold(scores: np.ndarray, side: np.ndarray, k: int) -> float:
    """A score that at least k columns of a side reach, and not many more; -inf if too few can."""
    stride = max(1, len(scores) // _SAMPLE_SIZE)
    if stride > 1:  # estimated from a sample, used if at least k reach it
        sample = scores[::stride][side[::stride]]
        sample = np.sort(sample[~np.isnan(sample)])
        threshold = sample[-min(len(sample), 1 + 4 * k // stride)] if len(sample) else -np.inf
        if (side & (scores >= threshold)).sum() >= k:
            return float(threshold)
    ranked = scores[side & ~np.isnan(scores)]
    if len(ranked) <= k:
        return -np.inf
    return float(np.partition(ranked, len(ranked) - k)[len(ranked) - k])
