"""Frozen candidates: the target of each query among sampled negatives, drawn once and stored.

Metrics over them are not those of a full ranking, so their names have a suffix: ``hit@1~uni19``
for 19 negatives drawn uniformly, ``hit@1~pop19`` for 19 drawn in proportion to training clicks.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from warmstart.data.interactions import Interactions
from warmstart.data.splits.base import Part
from warmstart.errors import ConfigError, DataError

_NAME = re.compile(r"(uni|pop)([1-9]\d{0,4})")
# Rounds of drawing anew what was refused; what is then missing is drawn among what is left.
_ROUNDS = 20


@dataclass(frozen=True)
class Candidates:
    """The candidates of every query.

    Attributes:
        name: "uni" or "pop" and the number of negatives, such as "uni19".
        items: part -> int32, shape (queries, 1 + negatives): the target and its negatives, in
            random order. The rows stand in the order of the queries of the slice "all".
    """

    name: str
    items: Mapping[Part, np.ndarray]

    @cached_property
    def hash(self) -> str:
        """sha256 of name and items."""
        digest = hashlib.sha256(self.name.encode())
        for part in sorted(self.items):
            rows = np.ascontiguousarray(self.items[part], np.int32)
            digest.update(f"{part} {rows.shape}".encode() + rows.tobytes())
        return digest.hexdigest()


def negatives_of(name: str) -> int:
    """Number of negatives that a name such as "uni19" or "pop99" states.

    Raises:
        ConfigError: it is not such a name.
    """
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        raise ConfigError(
            f"candidates {name!r}; allowed: uni or pop and the number of negatives, from 1 to "
            "99999, such as uni19 or pop99"
        )
    return int(found[2])


def draw_candidates(
    name: str,
    targets: np.ndarray,
    users: np.ndarray,
    pool: np.ndarray,
    *,
    known: Interactions,
    clicks: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw the candidates of each query.

    The negatives of a query are distinct items of the pool that the user never had, before or after
    the query. "uni" draws them uniformly, "pop" one after the other in proportion to ``clicks``;
    an item without clicks is then no negative. The target stands at a random place.

    Args:
        name: see ``Candidates.name``.
        targets: int32, shape (queries,): the relevant item of each query.
        users: int32, shape (queries,): the user who asks, a row number.
        pool: int32, ascending: items to draw from.
        known: all interactions of the users, held-out ones too.
        clicks: int, shape (n_items,): training interactions of each item.
        rng: source of the draw.

    Returns:
        int32, shape (queries, 1 + negatives).

    Raises:
        ConfigError: ``name`` is not one of a set of candidates.
        DataError: a user has had too many items of the pool.
    """
    n_negatives = negatives_of(name)
    if name.startswith("pop"):
        pool = pool[clicks[pool] > 0]
    weights = np.ones(len(pool)) if name.startswith("uni") else clicks[pool].astype(np.float64)
    refused = np.sort(known.keys)
    owners = users.astype(np.int64) << 32
    drawn = np.full((len(targets), n_negatives), -1, np.int64)
    bounds = np.cumsum(weights)
    for _ in range(_ROUNDS if len(pool) else 0):
        rows, columns = np.nonzero(drawn < 0)
        if not len(rows):
            break
        places = np.searchsorted(bounds, rng.random(len(rows)) * bounds[-1], side="right")
        drawn[rows, columns] = pool[np.minimum(places, len(pool) - 1)]
        drawn[_is_known(owners[:, None] | drawn, refused) | _is_repeat(drawn)] = -1
    for row in np.flatnonzero((drawn < 0).any(axis=1)).tolist():
        missing = np.flatnonzero(drawn[row] < 0)
        free = ~_is_known(owners[row] | pool, refused) & ~np.isin(pool, drawn[row])
        if free.sum() < len(missing):
            raise DataError(
                f"candidates {name!r}: a user has only "
                f"{n_negatives - len(missing) + int(free.sum())} items left to draw negatives "
                f"from, of {len(pool)}; allowed: at most that many negatives"
            )
        chances = np.where(free, weights, 0)
        chances /= chances.sum()
        drawn[row, missing] = rng.choice(pool, len(missing), replace=False, p=chances)
    together = np.concatenate([targets[:, None], drawn], axis=1).astype(np.int32)
    return rng.permuted(together, axis=1)


def _is_known(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each pair is among the ``known`` ones, ascending: bool, shape of ``keys``."""
    if not len(known):
        return np.zeros(keys.shape, bool)
    return known[np.searchsorted(known, keys).clip(max=len(known) - 1)] == keys


def _is_repeat(rows: np.ndarray) -> np.ndarray:
    """Whether an equal value stands further left in the same row: bool, shape of ``rows``."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeats = np.zeros(rows.shape, bool)
    np.put_along_axis(repeats, order, again, axis=1)
    return repeats
