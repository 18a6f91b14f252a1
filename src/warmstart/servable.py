"""The ability to be served: scores in parts that a service keeps and combines.

A service answers a few queries at a time, while items and clicks arrive. So a servable method takes
its score apart:

    who asks          user_states, history_states ──▶ QueryStates
    warm items        warm_items ───────────────────▶ score_warm           learned by the fit
    cold items        encode_items, cold_rows ──────▶ score_item_rows      from text and attributes
    items with clicks observed_rows ────────────────▶ score_observed_rows  from clicks since the fit

``Recommender.score`` of such a method combines the same parts, so there is one formula of the cold
score, and one of the score of a history, for library and service.

A method whose score is the product of a state and a vector of the item writes ``_user_states``,
``warm_items`` and ``_score_warm``, and ``_history_states`` if it scores histories by itself.
Everything else has a default: no cold score, and clicks since the fit change no score.

A service need not compute all scores of a method that says which vectors they are products of:
``warm_vectors`` and ``warm_queries``, ``cold_vectors`` and ``cold_queries``.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from warmstart.abilities import AddsItems, Converses
from warmstart.core import Recommender
from warmstart.data.catalogue import Catalogue
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.item_search import SMALLEST, ItemSearch, Side
from warmstart.process import check_process
from warmstart.retrieval.queries import ProductQueries
from warmstart.retrieval.table import VectorTable
from warmstart.similar_users import SimilarUsers

ItemEncoding: TypeAlias = dict[str, np.ndarray]
"""What a store keeps of some items: arrays with one row per item, from which ``item_rows`` follows
without a language model. "vectors" are the text vectors, of width 0 for a method without a text
model; "audience" and "probabilities", if present, are the likely users."""

ItemRows: TypeAlias = dict[str, np.ndarray]
"""What scoring some items needs: arrays with one row per item, of the same shape for every item; no
arrays for a method that has no such score."""

_SCORES_AT_ONCE = 2**23  # scores per block of items: 32 MB
_SIMILAR_AT_ONCE = 16  # similar users who are scored together


@dataclass(frozen=True)
class QueryStates:
    """Who asks, as a method scores items for them: weighted means of the method's own states.

    Attributes:
        n_queries: number of queries.
        parts: the method's states, each with weights, float32 CSR, shape (queries, states of the
            part); None instead of weights means one state for each query.
    """

    n_queries: int
    parts: tuple[tuple[Any, sparse.csr_matrix | None], ...]

    def __len__(self) -> int:
        return self.n_queries

    @cached_property
    def answered(self) -> np.ndarray:
        """Whether anything is known of who asks: bool, shape (queries,)."""
        found = np.zeros(len(self), bool)
        for _, weights in self.parts:
            found |= True if weights is None else np.diff(weights.indptr) > 0
        return found

    @property
    def single(self) -> Any:
        """The method's states if there is one for each query; None if they are averaged."""
        states, weights = self.parts[0] if self.parts else (None, None)
        return states if weights is None else None

    def mean(self, score: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Average scores over the states of each query.

        Args:
            score: scores all items for the states of a part, float32, shape (states, items).

        Returns:
            float32, shape (queries, items); NaN for a query of which nothing is known.
        """
        total = None
        for states, weights in self.parts:
            scores = score(states)
            if weights is None:
                return scores
            if total is None:
                total = np.zeros((len(self), scores.shape[1]), np.float32)
            rows = np.flatnonzero(np.diff(weights.indptr))
            total[rows] += weights[rows] @ scores
        assert total is not None, "nothing is known of any query: see ``answered``"
        total[~self.answered] = np.nan
        return total


@dataclass(frozen=True)
class OtherItems:
    """Items of histories that are not warm, by the users who clicked them or are likely to.

    Attributes:
        counts: number of these items in each history, shape (queries,).
        users: summed weights of their users, float32 CSR, shape (queries, n_users).
    """

    counts: np.ndarray
    users: sparse.csr_matrix


class Servable(Recommender, AddsItems):
    """A recommender whose scores come in parts; see the text of the module."""

    # -- implemented by each method --

    @abstractmethod
    def _user_states(self, users: np.ndarray) -> Any:
        """Return the states of known users, int32 row numbers."""

    def _history_states(self, histories: Histories, similar: SimilarUsers) -> Any:
        """Return the states of unknown users, for a method that scores histories by itself.

        Args:
            histories: their items, oldest first, at least one of them in ``counts_in_histories``;
                the others are ignored.
            similar: finds known users with similar histories, for what is known of these alone.
        """
        raise NotImplementedError

    @abstractmethod
    def warm_items(self, items: np.ndarray) -> Any:
        """Return what scoring these warm items, int32 row numbers, needs."""

    @abstractmethod
    def _score_warm(self, states: Any, items: Any) -> np.ndarray:
        """As ``score_warm``, for states of the method itself."""

    def encode_items(self, items: Catalogue, *, audience: int = 0) -> tuple[ItemEncoding, ItemRows]:
        """Encode new items: all that needs a language model, and what follows from it.

        The default is that of a method without a text model.

        Args:
            items: the items, with the columns of the fit's catalogue; their ids tell nothing.
            audience: number of likely users of each item to add to the encoding, the likeliest
                first: "audience" (int32 row numbers) and "probabilities" (float32, in (0, 1]). A
                method that does not simulate users adds none.

        Returns:
            The encoding of the items, and their ``item_rows``.
        """
        encoding = {"vectors": np.zeros((len(items), 0), np.float32)}
        return encoding, self.item_rows(encoding)

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        """Compute what scoring encoded items needs. Deterministic; needs no language model."""
        return {}

    def cold_rows(self, items: np.ndarray) -> ItemRows:
        """Return the ``item_rows`` of cold items of the catalogue, int32 row numbers."""
        return {}

    def can_score(self, rows: ItemRows) -> np.ndarray:
        """Return whether each of these items has a cold score: bool, shape (items,)."""
        return np.ones(len(next(iter(rows.values()))), bool)

    def _score_item_rows(self, states: Any, rows: ItemRows) -> np.ndarray:
        """As ``score_item_rows``, for states of the method itself."""
        raise NotImplementedError

    def observed_rows(self, clicks: sparse.csr_matrix) -> ItemRows:
        """Compute what scoring new items by their clicks needs.

        Args:
            clicks: ones, float32 CSR, shape (items, n_users).

        Returns:
            No arrays if a click tells the method nothing about other users.
        """
        return {}

    def _score_observed_rows(self, states: Any, rows: ItemRows) -> np.ndarray:
        """As ``score_observed_rows``, for states of the method itself."""
        raise NotImplementedError

    def warm_vectors(self, items: Any) -> np.ndarray | None:
        """Vectors whose products with ``warm_queries`` are the warm scores.

        Args:
            items: ``warm_items``, an array with a row for each item if the result is not None.

        Returns:
            float32, shape (items, width); None if the scores are no such products.
        """
        return None

    def warm_queries(self, states: QueryStates) -> ProductQueries | None:
        """Return who asks, for ``warm_vectors``; None if this query needs all scores."""
        return None

    def cold_vectors(self, rows: ItemRows) -> np.ndarray | None:
        """As ``warm_vectors``, for the scores of cold items, by their ``item_rows``."""
        return None

    def cold_queries(self, states: QueryStates) -> ProductQueries | None:
        """As ``warm_queries``, for ``cold_vectors``."""
        return None

    @property
    def text_vectors(self) -> np.ndarray | None:
        """Unit text vectors of the catalogue, float32, (n_items, width); None without texts."""
        return None

    @property
    def audience_calibration(self) -> str:
        """How the "probabilities" of an audience were fitted; it completes "they are ..."."""
        return "not fitted to held-out items"

    # -- provided by the base class --

    def user_states(self, users: np.ndarray) -> QueryStates:
        """Return known users, int32 row numbers, as this method scores items for them."""
        return QueryStates(len(users), ((self._user_states(users), None),))

    def history_states(
        self, histories: Histories, similar: SimilarUsers, others: OtherItems | None = None
    ) -> QueryStates:
        """Return unknown users as this method scores items for them.

        A method that cannot score a history by itself is asked for the known users with the most
        similar histories. The items in ``others`` count through their users: for such a method they
        add to the similarity. A method that scores histories by itself is also asked for the users
        similar by ``others`` alone, and the scores are averaged in proportion to the numbers of
        warm and of other items.

        Args:
            histories: items of the catalogue, oldest first; see ``counts_in_histories``.
            similar: finds similar users by ``fitted.positives``.
            others: further items of the histories.
        """
        fitted, n = self.fitted, len(histories)
        known = histories.matrix(len(fitted.catalogue))
        if not self._folds_in_histories:
            weights = similar.weights(known, None if others is None else others.users)
            return QueryStates(n, tuple(self._similar_parts(weights)))
        counts = known @ self.counts_in_histories.astype(np.float32)
        rows = np.flatnonzero(counts)
        if others is None and len(rows) == n:
            return QueryStates(n, ((self._history_states(histories, similar), None),))
        n_others = np.zeros(n) if others is None else others.counts
        share = (counts / np.maximum(counts + n_others, 1)).astype(np.float32)
        parts = []
        if len(rows):
            own = self._history_states(histories.take(rows), similar)
            place = (share[rows], (rows, np.arange(len(rows))))
            parts.append((own, sparse.csr_matrix(place, shape=(n, len(rows)))))
        if others is not None:
            weights = similar.weights(
                sparse.csr_matrix(known.shape, dtype=np.float32), others.users
            )
            weights = sparse.csr_matrix(sparse.diags_array(1 - share) @ weights)
            parts.extend(self._similar_parts(weights))
        return QueryStates(n, tuple(parts))

    def _similar_parts(self, weights: sparse.csr_matrix) -> Iterator[tuple[Any, sparse.csr_matrix]]:
        """States of the weighted users in blocks, with the weights of each block."""
        users = np.unique(weights.indices).astype(np.int32)
        weights = weights[:, users]
        for start in range(0, len(users), _SIMILAR_AT_ONCE):
            block = slice(start, start + _SIMILAR_AT_ONCE)
            yield self._user_states(users[block]), weights[:, block]

    def score_warm(self, states: QueryStates, items: Any) -> np.ndarray:
        """Score ``warm_items``: float32, shape (queries, items)."""
        return states.mean(lambda own: self._score_warm(own, items))

    def score_item_rows(self, states: QueryStates, rows: ItemRows) -> np.ndarray:
        """Score cold items: float32, shape (queries, items), on the scale of warm scores.

        Args:
            states: who asks.
            rows: ``item_rows`` or ``cold_rows``; scores of items that ``can_score`` excludes mean
                nothing.
        """
        return states.mean(lambda own: self._score_item_rows(own, rows))

    def score_observed_rows(self, states: QueryStates, rows: ItemRows) -> np.ndarray:
        """Score items by their clicks: float32, shape (queries, items).

        Args:
            states: who asks.
            rows: ``observed_rows``.
        """
        return states.mean(lambda own: self._score_observed_rows(own, rows))

    def item_search(self, candidates: np.ndarray, *, smallest: int = SMALLEST) -> ItemSearch | None:
        """As ``Recommender.item_search``; fewer candidates than ``smallest`` need none."""
        check_process()
        if len(candidates) < smallest:
            return None
        warm = self.fitted.warm[candidates]
        sides, scorable = [], np.zeros(len(candidates), bool)
        for at, cold in ((np.flatnonzero(warm), False), (np.flatnonzero(~warm), True)):
            can_score, vectors = self._scorable_vectors(candidates[at], cold)
            can_score = can_score & ~self._unknown(candidates[at])
            scorable[at] = can_score
            if not can_score.any():
                continue
            if vectors is None:
                return None
            bias = None if can_score.all() else np.where(can_score, 0, -np.inf).astype(np.float32)
            of_states = self.cold_queries if cold else self.warm_queries
            sides.append(Side(at, VectorTable(vectors, bias=bias), of_states))
        similar = cache(lambda: SimilarUsers(self.fitted.positives))  # made if a history comes
        states = partial(self._states_of, similar=similar)
        return ItemSearch(states, self._score_states, candidates, scorable, sides)

    def _scorable_vectors(
        self, items: np.ndarray, cold: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Which warm or cold items have a score, bool, and the vectors of all, if there are any."""
        if not len(items):
            return np.zeros(0, bool), None
        if not cold:
            vectors = self.warm_vectors(self.warm_items(items))
            if vectors is None:
                return np.ones(len(items), bool), None
            known = np.asarray(np.isfinite(vectors).all(axis=1))
            return known, vectors if known.all() else np.nan_to_num(vectors)
        rows = self.cold_rows(items)
        if not rows:
            return np.zeros(len(items), bool), None
        return self.can_score(rows), self.cold_vectors(rows)

    def _states_of(
        self, queries: Queries, similar: Callable[[], SimilarUsers]
    ) -> Iterator[tuple[np.ndarray, QueryStates]]:
        """Positions of the queries of which something is known, and their states."""
        self._check_answers(queries)
        by_user, by_history = map(np.flatnonzero, self._ways(queries))
        if len(by_user):
            yield by_user, self.user_states(queries.users[by_user])
        if queries.histories is not None and len(by_history):
            histories = queries.histories.take(by_history)
            yield by_history, self.history_states(histories, similar())

    def _score_users(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._score_states(self.user_states(users), items)

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        similar = SimilarUsers(self.fitted.positives)
        return self._score_states(self.history_states(histories, similar), items)

    def _score_states(self, states: QueryStates, items: np.ndarray) -> np.ndarray:
        """Score items of the catalogue, int32 row numbers: float32, shape (queries, items)."""
        scores = np.full((len(states), len(items)), np.nan, np.float32)
        if not states.answered.any():
            return scores
        warm = self.fitted.warm[items]
        if warm.any():
            scores[:, warm] = self._score_warm_items(states, items[warm])
        if not warm.all():
            scores[:, ~warm] = self._score_cold_items(states, items[~warm])
        return scores

    def _score_warm_items(self, states: QueryStates, items: np.ndarray) -> np.ndarray:
        return self.score_warm(states, self.warm_items(items))

    def _score_cold_items(self, states: QueryStates, items: np.ndarray) -> np.ndarray:
        rows = self.cold_rows(items)
        if not rows:
            return np.full((len(states), len(items)), np.nan, np.float32)
        scores = self.score_item_rows(states, rows)
        scores[:, ~self.can_score(rows)] = np.nan
        return scores


class ProductServable(Servable):
    """A servable method of which every score is the product of a state and a vector of the item.

    It writes ``_vectors_of_items``, ``_user_states`` and, for new items, ``item_rows`` with
    "vectors"; ``_history_states`` if it scores histories by itself. States are float32, shape
    (queries, width), NaN for a query of which nothing is known.
    """

    @property
    @abstractmethod
    def _vectors_of_items(self) -> np.ndarray:
        """Vectors of the catalogue, float32, shape (n_items, width); NaN for an item without."""

    def warm_items(self, items: np.ndarray) -> np.ndarray:
        """Vectors of the items."""
        return self._vectors_of_items[items]

    def _score_warm(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        return states @ items.T

    def cold_rows(self, items: np.ndarray) -> ItemRows:
        return {"vectors": self._vectors_of_items[items]}

    def can_score(self, rows: ItemRows) -> np.ndarray:
        return np.asarray(np.isfinite(rows["vectors"]).all(axis=1))

    def _score_item_rows(self, states: np.ndarray, rows: ItemRows) -> np.ndarray:
        return states @ rows["vectors"].T

    def warm_vectors(self, items: np.ndarray) -> np.ndarray:
        return items

    def warm_queries(self, states: QueryStates) -> ProductQueries:
        return ProductQueries.of(states.mean(lambda own: own))

    def cold_vectors(self, rows: ItemRows) -> np.ndarray:
        """Zeros for items that cannot be scored."""
        return np.nan_to_num(rows["vectors"])

    def cold_queries(self, states: QueryStates) -> ProductQueries:
        return self.warm_queries(states)


class ServesConversations(Servable, Converses):
    """A servable method that also answers texts: who asks in words becomes a state like any other.

    Plain lists, by user or history, run no language model.
    """

    @abstractmethod
    def conversation_states(self, texts: Sequence[str], histories: Histories) -> QueryStates:
        """Return who asks in words, as this method scores items; runs the language models.

        Args:
            texts: the dialogue so far of each query; see ``data.dialogues``.
            histories: the items that each mentions, oldest first; may be empty.
        """


def take_rows(rows: ItemRows, at: Any) -> ItemRows:
    """Select items: each array of the rows, indexed by ``at``."""
    return {name: array[at] for name, array in rows.items()}


def item_blocks(n_items: int, n_users: int) -> Iterator[slice]:
    """Split items into blocks whose scores over all users take at most 32 MB."""
    size = max(1, _SCORES_AT_ONCE // max(n_users, 1))
    return (slice(start, start + size) for start in range(0, n_items, size))
