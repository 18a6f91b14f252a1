"""Build recommendation lists for requested users or histories, in blocks of bounded memory."""

import warnings
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl
from scipy import sparse

from warmstart.data.cells import argument_cells
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids, id_column
from warmstart.data.queries import Queries
from warmstart.data.values import read_ids_like
from warmstart.errors import ConfigError, DataError, DataWarning, shortened
from warmstart.fitted import Fitted
from warmstart.rank import ListFunction, queries_at_once, top_k

OnUnknown: TypeAlias = Literal["raise", "warn", "ignore", "popular"]

# Why a query gets no list.
_NO_CANDIDATES = "there are no candidates"
_NO_SCORED = "every candidate was seen or cannot be scored, or no list is as the control asks"
_NO_POPULAR = (
    "they have no training interactions, and none of the candidates has any, so popularity cannot "
    "rank them"
)


@dataclass(frozen=True)
class RequestedLists:
    """The queries for which lists are made.

    Attributes:
        labels: the user ids that were given; without any, the positions of the queries.
        queries: who asks.
        by_popularity: bool, shape (queries,): nothing is known of who asks, so popularity ranks.
    """

    labels: pl.Series
    queries: Queries
    by_popularity: np.ndarray

    def where(self, keep: np.ndarray) -> "RequestedLists":
        """Select queries by a boolean mask."""
        kept = self.labels.filter(pl.Series(keep, dtype=pl.Boolean))
        return RequestedLists(kept, self.queries.take(keep), self.by_popularity[keep])


def requested_lists(
    fitted: Fitted,
    users: Any,
    histories: Any,
    texts: Any,
    on_unknown: OnUnknown,
    *,
    personal: bool,
    counts: np.ndarray,
) -> RequestedLists:
    """Look up who asks, and apply ``on_unknown`` to those of whom nothing is known.

    Args:
        fitted: ids and histories.
        users: external ids; any list, array or column; or None.
        histories: one list of item ids per query, oldest first; or None.
        texts: one text per query; or None.
        on_unknown: see ``Recommender.recommend``.
        personal: whether scores depend on who asks; if not, known users need no history.
        counts: the items of the catalogue that tell something of a user whose history has them,
            bool, shape (n_items,).

    Raises:
        ConfigError: ``on_unknown`` is not one of its values.
        DataError: nobody asks, lengths differ, an id is malformed, or nothing is known of a query
            and ``on_unknown`` is "raise".
    """
    if on_unknown not in get_args(OnUnknown):
        raise ConfigError(
            f"recommend: on_unknown {on_unknown!r}; allowed: {', '.join(get_args(OnUnknown))}"
        )
    if users is None and histories is None and texts is None:
        raise DataError(
            "recommend: users must be a list, got None, and neither histories nor texts are given"
        )
    labels, rows = None, None
    if users is not None:
        ids = read_ids_like(argument_cells(users, "recommend", "users"), fitted.user_ids)
        labels = pl.Series(ids, dtype=pl.Int64 if fitted.user_ids.is_integer else pl.String)
        rows = fitted.user_ids.rows(ids)
    found = None if histories is None else _histories(fitted, histories, on_unknown)
    said = None if texts is None else checked_texts("recommend", texts)
    lengths = {
        name: len(column)
        for name, column in (("users", rows), ("histories", found), ("texts", said))
        if column is not None
    }
    if len(set(lengths.values())) > 1:
        raise DataError(f"recommend: one each of users, histories and texts, got {lengths}")
    n_queries = next(iter(lengths.values()))
    if labels is None or rows is None:
        labels = pl.Series(np.arange(n_queries, dtype=np.int32))
        rows = np.full(n_queries, -1, np.int32)
    lacking = rows < 0
    if personal and len(fitted.user_ids):
        lacking = lacking | (fitted.positives[rows] @ counts.astype(np.float32) == 0)
    if found is not None:
        lacking = lacking & (found.where(counts[found.items]).lengths == 0)
    if said is not None:
        lacking = np.zeros(n_queries, bool)
    requested = RequestedLists(labels, Queries(rows, found, said), lacking)
    return _without_unknown(requested, users is not None, on_unknown)


def _without_unknown(
    requested: RequestedLists, by_id: bool, on_unknown: OnUnknown
) -> RequestedLists:
    """Apply ``on_unknown`` to the queries of which nothing is known."""
    lacking, rows = requested.by_popularity, requested.queries.users
    if on_unknown == "popular" or not lacking.any():
        return requested
    groups = (
        ("unknown user id(s)", lacking & (rows < 0)),
        ("user(s) without training interactions that the method knows", lacking & (rows >= 0)),
    )
    if not by_id:
        groups = (
            ("history or histories without an item that the method knows, by position", lacking),
        )
    problem = "; ".join(
        f"{int(group.sum())} {label}, the first: {requested.where(group).labels.to_list()[:5]!r}"
        for label, group in groups
        if group.any()
    )
    if on_unknown == "raise":
        raise DataError(
            f'recommend: {problem}; on_unknown "popular" gives them the most popular items, '
            '"warn" or "ignore" leaves them out'
        )
    if on_unknown == "warn":
        warnings.warn(f"recommend: left out: {problem}", DataWarning, stacklevel=4)
    return requested.where(~lacking)


def _histories(fitted: Fitted, histories: Any, on_unknown: OnUnknown) -> Histories:
    """Look up the items of histories; unknown ones are errors, or left out.

    Raises:
        DataError: a history is not a list of item ids, or an item is unknown.
    """
    if not _is_list(histories):
        raise DataError(
            "recommend: histories must be a list with one list of item ids for each query, got "
            f"{shortened(histories)}"
        )
    ids, lists, unknown = fitted.catalogue.item_ids, [], []
    for number, history in enumerate(histories):
        values = read_ids_like(argument_cells(history, "recommend", f"histories[{number}]"), ids)
        rows = ids.rows(values)
        unknown += [value for value, row in zip(values, rows, strict=True) if row < 0]
        lists.append(rows[rows >= 0])
    if unknown and on_unknown == "raise":
        raise DataError(
            f"recommend: {len(unknown)} item(s) of the histories are not in the catalogue, the "
            f'first: {unknown[:5]!r}; on_unknown "warn" or "ignore" leaves them out'
        )
    if unknown and on_unknown == "warn":
        warnings.warn(
            f"recommend: left out: {len(unknown)} unknown item(s) of the histories, the first: "
            f"{unknown[:5]!r}",
            DataWarning,
            stacklevel=4,
        )
    return Histories.from_lists(lists)


def checked_texts(place: str, texts: Any) -> tuple[str, ...]:
    """Check the texts of queries.

    Raises:
        DataError: they are not a list of strings; the message begins with ``place``.
    """
    if not _is_list(texts):
        raise DataError(
            f"{place}: texts must be a list with one text for each query, got {shortened(texts)}"
        )
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{place}: texts[{number}] must be a string, got {shortened(text)}")
    return tuple(texts)


def _is_list(values: Any) -> bool:
    """Whether this is a list, an array or a column, not one string or a mapping."""
    return hasattr(values, "__len__") and not isinstance(values, str | bytes | Mapping | Set)


def known_items(ids: Ids, items: Any, place: str) -> np.ndarray:
    """Look up the row numbers of requested items: int32, in the given order.

    Raises:
        DataError: malformed or unknown ids.
    """
    return ids.known_rows(read_ids_like(argument_cells(items, place, "items"), ids))


def ranked_lists(
    top_items: ListFunction,
    fitted: Fitted,
    requested: RequestedLists,
    candidates: np.ndarray,
    k: int,
    *,
    exclude_seen: bool,
    memory_mb: float,
) -> pl.DataFrame:
    """Rank the k best candidates of each query; returns the frame of ``Recommender.recommend``."""
    k = min(k, len(candidates))
    positions, scores = [np.zeros((0, k), np.int32)], [np.zeros((0, k), np.float32)]
    popularity = fitted.positives.getnnz(axis=0)[candidates].astype(np.float32)
    popularity[popularity == 0] = np.nan
    step = queries_at_once("recommend", memory_mb, len(candidates))
    for start in range(0, len(requested.queries) if len(candidates) else 0, step):
        rows = np.arange(start, min(start + step, len(requested.queries)))
        queries, by_popularity = requested.queries.take(rows), requested.by_popularity[rows]
        masked = _seen(fitted, queries)[:, candidates].tocsr() if exclude_seen else None
        found = np.full((len(rows), k), -1, np.int32), np.full((len(rows), k), np.nan, np.float32)
        for side, top in ((by_popularity, None), (~by_popularity, top_items)):
            if not side.any():
                continue
            hidden = None if masked is None else masked[side]
            if top is None:
                same = np.broadcast_to(popularity, (int(side.sum()), len(popularity)))
                found[0][side], found[1][side] = top_k(np.array(same), k, masked=hidden)
            else:
                found[0][side], found[1][side] = top(
                    queries.take(side), candidates, k, masked=hidden
                )
        positions.append(found[0])
        scores.append(found[1])
    ranked = np.concatenate(positions)
    query, place = np.nonzero(ranked >= 0)
    _warn_of_empty_lists(requested, query, popularity)
    chosen = candidates[ranked[query, place]]
    asked = "query" if requested.labels.dtype == pl.Int32 else "user"
    return pl.DataFrame(
        {
            asked: requested.labels.gather(query),
            "item": id_column(fitted.catalogue.item_ids, chosen),
            "score": np.concatenate(scores)[query, place],
            "rank": place.astype(np.int32) + 1,
            "is_cold": ~fitted.warm[chosen],
        }
    )


def _seen(fitted: Fitted, queries: Queries) -> sparse.csr_matrix:
    """Items that the users have seen, or have in the given history: CSR, (queries, n_items)."""
    rows = queries.users
    known = sparse.diags_array((rows >= 0).astype(np.float32))
    seen = sparse.csr_matrix(known @ fitted.seen(np.maximum(rows, 0)))
    if queries.histories is None:
        return seen
    return sparse.csr_matrix(seen + queries.histories.matrix(len(fitted.catalogue)))


def _warn_of_empty_lists(
    requested: RequestedLists, listed: np.ndarray, popularity: np.ndarray
) -> None:
    has_list = np.zeros(len(requested.queries), bool)
    has_list[listed] = True
    empty = requested.where(~has_list)
    unpopular = bool(len(popularity) and np.isnan(popularity).all())
    for group, why in (
        (empty.by_popularity & unpopular, _NO_POPULAR),
        (~(empty.by_popularity & unpopular), _NO_SCORED if len(popularity) else _NO_CANDIDATES),
    ):
        labels = empty.where(group).labels.to_list()
        if labels:
            who = "user(s)" if requested.labels.dtype != pl.Int32 else "query or queries"
            warnings.warn(
                f"recommend: {len(labels)} {who} get no list, the first: {labels[:5]!r}; {why}",
                DataWarning,
                stacklevel=4,
            )
