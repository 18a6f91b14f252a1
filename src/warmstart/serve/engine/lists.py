"""Requests for lists, and the selection of a list from scores under rules on cold items."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from warmstart.data.control import Control
from warmstart.serve.engine.candidates import Candidates

COLD_PER_PLACE = 4  # cold items among which the rule on owners selects, per place of the list


@dataclass(frozen=True)
class ListRequest:
    """A request for one list.

    Attributes:
        user: external id, as text.
        recorded: the interactions of an unknown user, as the store has them: external ids, the
            last one last; None takes those in memory.
        history: external ids of items, instead of a user.
        k: maximum length of the list.
        exclude_seen: whether to leave out items that the user has interacted with.
        allow: the only items that may be in the list; None allows all.
        deny: items that must not be in the list.
        cold_share_min, cold_share_max: bounds on the fraction of cold items in the list.
        explain: whether to return evidence for each item.
        control: what the list should be like besides high in score.
    """

    user: str | None = None
    recorded: tuple[str, ...] | None = None
    history: tuple[str, ...] | None = None
    k: int = 10
    exclude_seen: bool = True
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    cold_share_min: float = 0.0
    cold_share_max: float = 1.0
    explain: bool = False
    control: Control | None = None


class NoListError(Exception):
    """A list cannot be made; the message says why."""


class UnknownUserError(NoListError):
    """There are no interactions from which to make a list."""


class ControlError(NoListError):
    """No list is as the control asks."""


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
    candidates: Candidates, owner: Callable[[int], str | None], rules: ListRules
) -> Candidates:
    """Select the k best items under the rules, the best first.

    ``cold_share_max`` takes precedence over ``cold_share_min``, and that over ``max_owner_share``.
    One cold item of each owner is always allowed.

    Args:
        candidates: at least the k best items that are not cold, and the 4 k best that are.
        owner: returns the owner of an item, None if it has none.
        rules: rules of the list.
    """
    k, ranked = rules.k, candidates.take(candidates.best(len(candidates.columns)))
    cold = np.flatnonzero(ranked.is_cold)[: COLD_PER_PLACE * k].tolist()
    warm = np.flatnonzero(~ranked.is_cold)[:k].tolist()
    per_owner = max(1, floor(rules.max_owner_share * k))
    taken: Counter[str] = Counter()
    within, rest = [], []
    for at in cold:
        name = owner(int(ranked.slots[at]))
        if name is not None:
            taken[name] += 1
        (within if name is None or taken[name] <= per_owner else rest).append(at)
    least, most = ceil(rules.cold_share_min * k), floor(rules.cold_share_max * k)
    if len(within) < least:
        within = sorted([*within, *rest[: least - len(within)]])
    n_natural = sum(bool(ranked.is_cold[at]) for at in sorted([*within, *warm])[:k])
    n_cold = min(max(n_natural, min(least, len(within))), most, k)
    return ranked.take(np.array(sorted([*within[:n_cold], *warm[: k - n_cold]]), np.int64))
