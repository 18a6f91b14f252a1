"""Build recommendation lists for requested users and items, in blocks of bounded memory."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl
from scipy import sparse

from warmstart.data.cells import argument_cells
from warmstart.data.ids import ExternalId, Ids, id_column
from warmstart.data.values import read_ids_like
from warmstart.errors import ConfigError, DataError, DataWarning
from warmstart.fitted import Fitted
from warmstart.rank import ScoreFunction, top_k, users_at_once

OnUnknown: TypeAlias = Literal["raise", "warn", "ignore", "popular"]

# Why a user gets no list.
_NO_CANDIDATES = "there are no candidates"
_NO_SCORED = "every candidate was seen or cannot be scored"
_NO_POPULAR = (
    "they have no training interactions, and none of the candidates has any, so popularity cannot "
    "rank them"
)


@dataclass(frozen=True)
class RequestedUsers:
    """The users for whom lists are made.

    Attributes:
        ids: external ids.
        rows: int32, shape (users,); -1 for a user who is not in the training data.
        by_popularity: bool, shape (users,): the user has no history, so popularity ranks the items.
    """

    ids: list[ExternalId]
    rows: np.ndarray
    by_popularity: np.ndarray

    def where(self, keep: np.ndarray) -> "RequestedUsers":
        """Select users by a boolean mask."""
        ids = [value for value, kept in zip(self.ids, keep.tolist(), strict=True) if kept]
        return RequestedUsers(ids, self.rows[keep], self.by_popularity[keep])


def requested_users(
    fitted: Fitted, users: Any, on_unknown: OnUnknown, *, personal: bool
) -> RequestedUsers:
    """Look up the requested users and apply ``on_unknown`` to those without a history.

    Args:
        fitted: ids and histories.
        users: external ids; any list, array or column.
        on_unknown: see ``Recommender.recommend``.
        personal: whether scores depend on the user; if not, known users need no history.

    Raises:
        ConfigError: ``on_unknown`` is not one of its values.
        DataError: an id is malformed, or a user has no history and ``on_unknown`` is "raise".
    """
    if on_unknown not in get_args(OnUnknown):
        raise ConfigError(
            f"recommend: on_unknown {on_unknown!r}; allowed: {', '.join(get_args(OnUnknown))}"
        )
    ids = read_ids_like(argument_cells(users, "recommend", "users"), fitted.user_ids)
    rows = fitted.user_ids.rows(ids)
    history = np.diff(fitted.positives.indptr)[rows] if len(fitted.user_ids) else rows * 0
    lacking = (rows < 0) | ((history == 0) & personal)
    requested = RequestedUsers(ids, rows, lacking)
    if on_unknown == "popular" or not lacking.any():
        return requested
    problem = "; ".join(
        f"{len(group.ids)} {label}, the first: {group.ids[:5]!r}"
        for label, group in (
            ("unknown user id(s)", requested.where(rows < 0)),
            ("user(s) without training interactions", requested.where(lacking & (rows >= 0))),
        )
        if group.ids
    )
    if on_unknown == "raise":
        raise DataError(
            f'recommend: {problem}; on_unknown "popular" gives them the most popular items, '
            '"warn" or "ignore" leaves them out'
        )
    if on_unknown == "warn":
        warnings.warn(f"recommend: left out: {problem}", DataWarning, stacklevel=3)
    return requested.where(~lacking)


def known_items(ids: Ids, items: Any, place: str) -> np.ndarray:
    """Look up the row numbers of requested items: int32, in the given order.

    Raises:
        DataError: malformed or unknown ids.
    """
    return ids.known_rows(read_ids_like(argument_cells(items, place, "items"), ids))


def ranked_lists(
    score: ScoreFunction,
    fitted: Fitted,
    users: RequestedUsers,
    candidates: np.ndarray,
    k: int,
    *,
    exclude_seen: bool,
    memory_mb: float,
) -> pl.DataFrame:
    """Rank the k best candidates of each user; returns the frame of ``Recommender.recommend``."""
    k = min(k, len(candidates))
    positions, scores = [np.zeros((0, k), np.int32)], [np.zeros((0, k), np.float32)]
    popularity = fitted.positives.getnnz(axis=0)[candidates].astype(np.float32)
    popularity[popularity == 0] = np.nan
    step = users_at_once("recommend", memory_mb, len(candidates))
    for start in range(0, len(users.rows) if len(candidates) else 0, step):
        rows = users.rows[start : start + step]
        by_popularity = users.by_popularity[start : start + step]
        block = np.empty((len(rows), len(candidates)), np.float32)
        block[by_popularity] = popularity
        if not by_popularity.all():
            block[~by_popularity] = score(rows[~by_popularity], candidates)
        masked = _seen(fitted, rows)[:, candidates].tocsr() if exclude_seen else None
        found = top_k(block, k, masked=masked)
        positions.append(found[0])
        scores.append(found[1])
    ranked = np.concatenate(positions)
    query, place = np.nonzero(ranked >= 0)
    _warn_of_empty_lists(users, query, popularity)
    chosen = candidates[ranked[query, place]]
    ids = pl.Series(users.ids, dtype=pl.Int64 if fitted.user_ids.is_integer else pl.String)
    return pl.DataFrame(
        {
            "user": ids.gather(query),
            "item": id_column(fitted.catalogue.item_ids, chosen),
            "score": np.concatenate(scores)[query, place],
            "rank": place.astype(np.int32) + 1,
            "is_cold": ~fitted.warm[chosen],
        }
    )


def _seen(fitted: Fitted, rows: np.ndarray) -> sparse.csr_matrix:
    """Items that users have seen: CSR, shape (users, n_items); none for row -1."""
    known = sparse.diags_array((rows >= 0).astype(np.float32))
    return sparse.csr_matrix(known @ fitted.seen(np.maximum(rows, 0)))


def _warn_of_empty_lists(users: RequestedUsers, listed: np.ndarray, popularity: np.ndarray) -> None:
    has_list = np.zeros(len(users.rows), bool)
    has_list[listed] = True
    empty = users.where(~has_list)
    unpopular = bool(len(popularity) and np.isnan(popularity).all())
    for group, why in (
        (empty.by_popularity & unpopular, _NO_POPULAR),
        (~(empty.by_popularity & unpopular), _NO_SCORED if len(popularity) else _NO_CANDIDATES),
    ):
        ids = empty.where(group).ids
        if ids:
            warnings.warn(
                f"recommend: {len(ids)} user(s) get no list, the first: {ids[:5]!r}; {why}",
                DataWarning,
                stacklevel=4,
            )
