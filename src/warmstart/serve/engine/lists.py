"""Requests for lists, and the selection of a list from scores under rules on cold items."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from warmstart.rank import top_k

_SAMPLE_SIZE = 16384  # columns from which the k-th best score is estimated
_HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: spreads neighbouring columns


@dataclass(frozen=True)
class ListRequest:
    """A request for one list.

    Attributes:
        user: external id, as text.
        history: external ids of items, instead of a user.
        k: maximum length of the list.
        exclude_seen: whether to leave out items that the user has interacted with.
        allow: the only items that may be in the list; None allows all.
        deny: items that must not be in the list.
        cold_share_min, cold_share_max: bounds on the fraction of cold items in the list.
        explain: whether to return evidence for each item.
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
    """There are no interactions from which to make a list; the message says why."""


@dataclass(frozen=True)
class Hit:
    """One recommended item; ``rank`` starts at 1."""

    item: str
    score: float
    rank: int
    is_cold: bool
    evidence: dict[str, Any] | None = None


@dataclass(frozen=True)
class ListRules:
    """Maximum length of a list, and bounds on its cold items as fractions of that length.

    Attributes:
        k: maximum length.
        cold_share_min, cold_share_max: bounds on the cold items.
        max_owner_share: upper bound on the cold items of one owner.
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
    """Select the k best columns under the rules; the best column comes first.

    ``cold_share_max`` takes precedence over ``cold_share_min``, and that over ``max_owner_share``.
    One cold item of each owner is always allowed.

    Args:
        scores: float32, shape (columns,); NaN is never selected.
        is_cold: bool, shape (columns,).
        owner: returns the owner of a column, None if it has none.
        rules: rules of the list.
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
    """The k best columns of one side; new columns do not reorder ties."""
    columns = np.flatnonzero(side & (scores >= _threshold(scores, side, k)))
    if not len(columns):
        return []
    ties = np.argsort(np.argsort(columns.astype(np.uint64) * _HASH_MULTIPLIER))
    found, _ = top_k(np.ascontiguousarray(scores[columns][None]), k, tie_order=ties)
    return columns[found[0][found[0] >= 0]].tolist()


def _threshold(scores: np.ndarray, side: np.ndarray, k: int) -> float:
    """A score that k columns of a side, and not many more, reach; -inf if there are too few."""
    stride = max(1, len(scores) // _SAMPLE_SIZE)
    if stride > 1:  # an estimate from a sample, used only if at least k columns reach it
        sample = scores[::stride][side[::stride]]
        sample = np.sort(sample[~np.isnan(sample)])
        threshold = sample[-min(len(sample), 1 + 4 * k // stride)] if len(sample) else -np.inf
        if (side & (scores >= threshold)).sum() >= k:
            return float(threshold)
    ranked = scores[side & ~np.isnan(scores)]
    if len(ranked) <= k:
        return -np.inf
    return float(np.partition(ranked, len(ranked) - k)[len(ranked) - k])
