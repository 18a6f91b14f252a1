"""The base class of every recommender, and the traits that a method declares.

A method implements ``_fit``, ``_state``, ``_restore`` and one or more ways to score:
``_score_users`` for known users, ``_score_histories`` for histories, or ``_score`` for queries of
any kind. The base class adds ``fit``, ``score``, ``recommend`` and ``save``. Inside, users and
items are row numbers; external ids occur only at the border.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias

import numpy as np
import polars as pl
from scipy import sparse

from warmstart.arguments import generator, whole_number
from warmstart.artefact import write_artefact
from warmstart.config import Config, constructor_signature, merged, settings_docs
from warmstart.controlled_lists import controlled_lists, genre_list
from warmstart.data.control import Control, as_control
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.ids import ExternalId
from warmstart.data.queries import Queries, QueryKind
from warmstart.data.tasks import RankingTask, Validation, ranking_task
from warmstart.errors import ConfigError, DataError, NotFittedError, UnsupportedError
from warmstart.fitted import Fitted
from warmstart.item_search import ItemSearch
from warmstart.lists import OnUnknown, known_items, ranked_lists, requested_lists
from warmstart.process import check_process
from warmstart.rank import ListFunction, of_own_candidates, top_k
from warmstart.run import Run
from warmstart.similar_users import score_by_similar_users, similar_users


class Encoder(Protocol):
    """The part of ``warmstart.lm.TextEncoder`` that methods use.

    Attributes:
        lm: the language model, for methods that tune it or score user-item pairs with it.
        spec: portable reference to the language model, as plain JSON values.
        width: length of a text vector.
        folder: folder of the cache; None is the default folder.
        cache: cache of text vectors; None if vectors are not cached.
    """

    @property
    def lm(self) -> Any: ...

    @property
    def spec(self) -> dict[str, Any]: ...

    @property
    def width(self) -> int: ...

    @property
    def folder(self) -> Path | None: ...

    @property
    def cache(self) -> Any: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts as unit vectors: float32, shape (texts, width); "" gives zeros."""
        ...


class Causal(Protocol):
    """The part of ``warmstart.lm.CausalLM`` that is used without knowing it.

    Attributes:
        lm: the language model.
        spec: portable reference to the language model, as plain JSON values.
    """

    @property
    def lm(self) -> Any: ...

    @property
    def spec(self) -> dict[str, Any]: ...


LMRole: TypeAlias = Literal["encoder", "causal"]
"""What a language model does for a method: encode texts, or write and judge them."""


@dataclass(frozen=True)
class LanguageModels:
    """The language models of a fit, or of a loaded model.

    Attributes:
        encoder: the text encoder, or None.
        causal: the causal LM, or None.
    """

    encoder: Encoder | None = None
    causal: Causal | None = None

    def only(self, roles: Collection[LMRole]) -> "LanguageModels":
        """Leave out the models of other roles."""
        return LanguageModels(
            self.encoder if "encoder" in roles else None, self.causal if "causal" in roles else None
        )

    @property
    def specs(self) -> dict[LMRole, dict[str, Any]]:
        """The portable references of the models that are there."""
        models: dict[LMRole, Encoder | Causal | None] = {
            "encoder": self.encoder,
            "causal": self.causal,
        }
        return {role: model.spec for role, model in models.items() if model is not None}


@dataclass(frozen=True)
class Traits:
    """Properties that a method declares and the contract checks test.

    Attributes:
        reads: the inputs that ``fit`` learns from; "order" of each user's interactions.
        answers: the kinds of query that the method scores by itself. A method that scores known
            users also answers histories, by the known users with the most similar ones; one that
            scores histories also answers known users, by their histories.
        cold_items: how cold items are scored: "none" (NaN), "prior" (one score for all cold
            items), "content" (from the text or the attributes) or "simulated" (from simulated
            interactions).
        needs: the language models that ``fit`` requires; see ``Recommender.needs``.
        exact_repeat: whether the same seed gives bit-identical scores.
        personal: whether scores depend on the user; popularity, for example, does not.
        scores_by_lm: whether every score runs a language model that ``needs`` names, so that a
            loaded model cannot score without it.
    """

    reads: frozenset[
        Literal["interactions", "texts", "order", "ratings", "attributes", "dialogues"]
    ]
    cold_items: Literal["none", "prior", "content", "simulated"]
    answers: frozenset[QueryKind] = frozenset({"user"})
    needs: frozenset[LMRole] = frozenset()
    exact_repeat: bool = True
    personal: bool = True
    scores_by_lm: bool = False


class Recommender(ABC):
    """Base class of every recommender: scores items for users.

    Args:
        config: the method's configuration; None takes the defaults.
        settings: single settings by name instead of ``config``, validated in the same way.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[Config]]
    traits: ClassVar[Traits]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "config_type" in vars(cls):
            cls.__signature__ = constructor_signature(cls.config_type)
            cls.__doc__ = f"{cls.__doc__ or ''}{settings_docs(cls.config_type)}"

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        if config is not None and settings:
            raise ConfigError(f"{self.name}: give a config or single settings, not both")
        if config is not None and not isinstance(config, self.config_type):
            raise ConfigError(
                f"{self.name}: config must be a {self.config_type.__name__}, "
                f"got {type(config).__name__}"
            )
        self.config: Any = config or self.config_type.build(settings)
        self._fitted: Fitted | None = None

    def __repr__(self) -> str:
        changed = self.config.model_dump(exclude_defaults=True)
        settings = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        if self._fitted is None:
            return f"{type(self).__name__}({settings})"
        n_users, n_items = len(self._fitted.user_ids), len(self._fitted.catalogue)
        return f"{type(self).__name__}({settings}), fitted: {n_users} users, {n_items} items"

    # -- implemented by each method --

    @abstractmethod
    def _fit(self, data: Dataset, context: "FitContext") -> None: ...

    @abstractmethod
    def _state(self) -> dict[str, np.ndarray]:
        """Return the arrays from which ``_restore`` rebuilds a model with the same scores."""

    @abstractmethod
    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None: ...

    @property
    def needs(self) -> frozenset[LMRole]:
        """The language models that ``fit`` requires with these settings."""
        return self.traits.needs

    # -- ways to score: a method implements at least one --

    def _score_users(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Score items for known users: float32, shape (users, items), in a new array.

        The default scores their histories, for a method that scores histories by itself.

        Args:
            users: int32 row numbers, shape (users,).
            items: int32 row numbers, shape (items,).
        """
        if not self._folds_in_histories:
            raise NotImplementedError
        return self._score_histories(self.fitted.histories.take(users), items)

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """Score items for histories: float32, shape (histories, items), in a new array.

        The default asks the known users with the most similar histories.
        """
        positives = self.fitted.positives
        known = histories.matrix(len(self.fitted.catalogue))
        weights = similar_users(positives, known)
        return score_by_similar_users(self._score_users, weights, items)

    def _find_mentions(self, texts: Sequence[str]) -> Histories | None:
        """Recognise the items that texts mention; None for a method that does not converse."""
        return None

    def _with_mentions(self, queries: Queries) -> Queries:
        """Take the items that texts mention as histories, where none are given."""
        if queries.texts is None or queries.histories is not None:
            return queries
        mentioned = self._find_mentions(queries.texts)
        return queries if mentioned is None else queries.with_histories(mentioned)

    @property
    def _folds_in_histories(self) -> bool:
        """Whether the model scores histories by itself, not by similar users."""
        return "history" in self.traits.answers

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """Score items, shape (items,), for queries as ``score`` documents it, in a new array.

        The default scores histories by ``_score_histories`` and known users without one by
        ``_score_users``. A known user's own scores are better than those of similar users, so a
        method that does not answer histories by itself prefers them. A query of which nothing is
        known gets NaN.
        """
        by_user, by_history = self._ways(queries)
        scores = np.full((len(queries), len(items)), np.nan, np.float32)
        if by_user.any():
            scores[by_user] = self._score_users(queries.users[by_user], items)
        if queries.histories is not None and by_history.any():
            histories = queries.histories.take(by_history)
            scores[by_history] = self._score_histories(histories, items)
        return scores

    def _ways(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Which queries are scored as known users, and which by history: bool, (queries,) each."""
        by_user, histories = queries.users >= 0, queries.histories
        by_history = np.zeros(len(queries), bool)
        if histories is not None and "history" in self.answers:
            by_history = histories.lengths > 0
            if self._folds_in_histories:
                by_user = by_user & ~by_history
            by_history = by_history & ~by_user
        if "user" not in self.answers:
            by_user[:] = False
        return by_user, by_history

    def _score_own_candidates(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``_score`` for items of each query, shape (queries, c); the default gathers them."""
        return of_own_candidates(self._score)(queries, items)

    def _controlled_list(
        self, query: Queries, items: np.ndarray, scores: np.ndarray, k: int
    ) -> np.ndarray:
        """Choose the list of one query with a control; the default is ``genre_list``.

        The items have genres, and those that the control names are known.

        Args:
            query: one query; ``query.controls[0]`` says what the list should be like.
            items: int32 row numbers of the items that may be listed, shape (items,): candidates
                that are not masked and have a score.
            scores: their scores, float32, shape (items,).
            k: length of the list, at least 1.

        Returns:
            Positions in ``items``, integers, best first, none twice; at most k.

        Raises:
            ConfigError, DataError: no list of these items is as asked. It is then empty, and a
                warning gives the message.
        """
        return genre_list(self.fitted, query, items, scores, k)

    # -- provided by the base class --

    def fit(
        self,
        data: Dataset,
        *,
        valid: Validation | None = None,
        encoder: Encoder | None = None,
        lm: Causal | None = None,
        rng: np.random.Generator | int = 0,
        run: Run | None = None,
    ) -> Self:
        """Fit the recommender to ``data``, discarding any earlier fit.

        Args:
            data: users, catalogue (with cold items) and training interactions.
            valid: validation slices, on which ``fit`` chooses numbers of epochs and scales. None
                uses the values of the configuration. ``chosen`` carries the choices over to
                another fit.
            encoder: from ``load_encoder``; required if ``needs`` has "encoder".
            lm: from ``load_causal_lm``; required if ``needs`` has "causal".
            rng: generator or seed, a whole number from 0; the global random state is not used.
            run: folder for checkpoints and stage timings; None uses a temporary one.

        Raises:
            ConfigError: a language model that the method needs is missing, ``rng`` is neither a
                generator nor a seed, or a setting makes the training diverge.
            DataError: ``data`` has no interactions, or lacks texts, ratings or dialogues for a
                method that learns from them.
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        check_process()
        rng = generator(f"{self.name}: fit", "rng", rng)
        _check_language_models(self.name, self.needs, encoder, lm)
        if len(data.interactions) == 0:
            raise DataError(f"{self.name}: {data.name!r} has no training interactions")
        _check_inputs(self.name, self.traits, data)
        self._fitted = Fitted.from_dataset(data)
        models = LanguageModels(encoder, lm).only(self.needs)
        self._fitted.lms = models.specs
        context = FitContext(valid, models, rng, run or Run())
        try:
            self._fit(data, context)
        except BaseException:
            self._fitted = None  # a partly fitted model must not return scores
            raise
        return self

    def __copy__(self) -> Self:
        """Copy the objects that ``add_items`` changes; their arrays, never changed, are shared."""
        new = object.__new__(type(self))
        vars(new).update({name: copy(value) for name, value in vars(self).items()})
        return new

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Turn access to fitted state before ``fit`` into a NotFittedError."""
            private = name.startswith("_") and not name.startswith("__")
            if vars(self).get("_fitted") is None and (private or hasattr(type(self), name)):
                raise NotFittedError(f"{self.name}: call fit or load first")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def fitted(self) -> Fitted:
        """Ids, catalogue and histories kept from the training data.

        Raises:
            NotFittedError: before ``fit`` or ``load``.
        """
        if self._fitted is None:
            raise NotFittedError(f"{self.name}: call fit or load first")
        return self._fitted

    @property
    def answers(self) -> frozenset[QueryKind]:
        """Kinds of query that this model can score, by itself or as ``Traits.answers`` says."""
        either: frozenset[QueryKind] = frozenset({"user", "history"})
        own = self.traits.answers
        return own | either if own & either else own

    def score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """Score items for queries; higher is better, the scale is arbitrary.

        Args:
            queries: who asks; ``Queries.of_users(rows)`` for known users.
            items: int32 row numbers, shape (items,) for all queries, or (queries, c) for each.

        Returns:
            float32, shape (queries, items) or (queries, c); NaN where the method cannot score the
            pair. A method that learns from texts gives NaN for a cold item without text: it has no
            information about the item, so the item must not rank above others (the no-harm rule).

        Raises:
            UnsupportedError: the method answers no kind of these queries, or this process was
                forked from one that had used warmstart.
        """
        check_process()
        self._check_answers(queries)
        items = np.asarray(items)
        if items.ndim == 2:
            scores = self._score_own_candidates(queries, items)
        else:
            scores = self._score(queries, items)
        unknown = self._unknown(items)
        if unknown.any():
            scores[np.broadcast_to(unknown, scores.shape)] = np.nan
        return scores

    def _unknown(self, items: np.ndarray) -> np.ndarray:
        """Whether nothing is known of items: cold ones without text, where texts are learned."""
        fitted = self.fitted
        if "texts" not in self.traits.reads:
            return np.zeros(items.shape, bool)
        return ~fitted.warm[items] & ~fitted.catalogue.has_text[items]

    @property
    def counts_in_histories(self) -> np.ndarray:
        """The items of the catalogue that tell something of a user whose history has them.

        Bool, shape (n_items,). The default is that of a method that knows warm items only.
        """
        return self.fitted.warm

    def _check_answers(self, queries: Queries) -> None:
        """Check that the method can answer queries.

        Raises:
            UnsupportedError: it answers no kind of them.
        """
        if not queries.kinds & self.answers:
            asked = " or ".join(sorted(queries.kinds)) or "nothing: no known user, history or text"
            raise UnsupportedError(
                f"{self.name} cannot answer a query by {asked}; it answers by "
                f"{' or '.join(sorted(self.answers))}"
            )

    def top_items(
        self,
        queries: Queries,
        candidates: np.ndarray,
        k: int,
        *,
        masked: sparse.csr_matrix | None = None,
        tie_order: np.ndarray | None = None,
        tie_shift: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make one list for each query: the k candidates with the highest scores.

        A method that makes all lists in another way overrides this function; one that only meets
        controls in its own way overrides ``_controlled_list``.

        Args:
            queries: who asks.
            candidates: int32 row numbers, shape (candidates,) or (queries, candidates).
            k: length of the lists.
            masked: CSR, shape (queries, candidates); pairs with a non-zero value are left out.
            tie_order: see ``rank.top_k``.
            tie_shift: see ``rank.top_k``.

        Returns:
            Positions among the candidates, int32, and scores, float32, shape (queries, k); -1 and
            NaN after the end of a list.

        Raises:
            ConfigError, DataError: a control names unknown genres, or the items have none.
            UnsupportedError: see ``score``.
        """
        scores = self.score(queries, candidates)
        if queries.controls is not None:
            choose = self._controlled_list
            return controlled_lists(self.fitted, queries, candidates, scores, k, masked, choose)
        return top_k(scores, k, masked=masked, tie_order=tie_order, tie_shift=tie_shift)

    def item_search(self, candidates: np.ndarray) -> ItemSearch | None:
        """Prepare a search for the best of many candidates, faster than scoring all of them.

        Args:
            candidates: int32 row numbers, shape (candidates,).

        Returns:
            None if the scores of the method are no products of vectors, or the candidates so few
            that a search gains nothing.

        Raises:
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        check_process()
        return None

    @property
    def chosen(self) -> Config:
        """Configuration with the settings that the last fit chose, for a refit on all data."""
        return self.config_type.build(
            merged(self.config.model_dump(mode="json"), self.fitted.choices)
        )

    def recommend(
        self,
        users: Sequence[ExternalId] | None = None,
        k: int = 10,
        *,
        histories: Sequence[Sequence[ExternalId]] | None = None,
        texts: Sequence[str] | None = None,
        control: Control | dict[str, Any] | None = None,
        items: Sequence[ExternalId] | None = None,
        exclude_seen: bool = True,
        only_cold: bool = False,
        on_unknown: OnUnknown = "raise",
        memory_mb: float = 256,
    ) -> pl.DataFrame:
        """Recommend the k items with the highest scores to each user, history or text.

        Args:
            users: external ids; any list, array or column. None asks by histories or texts alone.
            k: list length, at least 1. Lists are shorter if fewer items can be scored.
            histories: the items that each user had, as external ids, oldest first; users need not
                be known then. A known user's history replaces the one of the training data.
            texts: what each user says, such as the dialogue so far, for methods that answer texts.
                Without ``histories``, a method that converses takes the items that it recognises
                in a text as the history.
            control: what each list should be like besides relevant: one of ``{"n_genres": 5}``,
                ``{"genres": ["Comedy", "Drama"]}``, ``{"calibrate": True}`` or
                ``{"diversity": 0.3}``; see ``Control``.
            items: external ids of the items to rank; None ranks all.
            exclude_seen: leave out the items that the user has seen in training (interactions, and
                pairs rated below the threshold of a positive) and those of the given history.
            only_cold: rank only items without training interactions.
            on_unknown: how to treat users who are not in the training data or have no interactions
                there, if no history is given, and unknown items of histories. "raise" raises an
                error, "warn" and "ignore" leave them out, and "popular" ranks the items by number
                of training interactions (items without any are not ranked). A method whose scores
                do not depend on the user also scores the items for known users without
                interactions.
            memory_mb: approximate memory in MiB of a block of queries that are scored together, at
                ``rank.BYTES_PER_PAIR`` bytes per pair; at least one query at a time. Scores may be
                rounded differently in blocks of other sizes, so items whose float32 scores differ
                in the last bits only may change places.

        Returns:
            Columns user, item, score (float32), rank (int32, from 1), is_cold (bool). Without
            ``users`` the first column is query (int32), the position of the history or text.

        Raises:
            ConfigError: ``on_unknown`` is not one of its values, ``control`` is malformed, or
                ``memory_mb`` is not a finite number above 0.
            DataError: nobody asks, unknown ids, or k is not a whole number from 1.
            UnsupportedError: the method does not answer histories or texts, or cannot keep to the
                control; or this process was forked from one that had used warmstart.
        """
        check_process()
        fitted = self.fitted
        k = whole_number("recommend", "k", k, low=1, error=DataError)
        requested = requested_lists(
            fitted, users, histories, texts, on_unknown,
            personal=self.traits.personal, counts=self.counts_in_histories,
        )  # fmt: skip
        queries = self._with_mentions(requested.queries)
        if control is not None:
            queries = queries.with_control(as_control(control))
        requested = replace(requested, queries=queries)
        candidates = np.arange(len(fitted.catalogue), dtype=np.int32)
        if items is not None:
            candidates = np.unique(known_items(fitted.catalogue.item_ids, items, "recommend"))
        if only_cold:
            candidates = candidates[~fitted.warm[candidates]]
        return ranked_lists(
            self._lists_of(candidates, requested.queries),
            fitted,
            requested,
            candidates,
            k,
            exclude_seen=exclude_seen,
            memory_mb=memory_mb,
        )

    def _lists_of(self, candidates: np.ndarray, queries: Queries) -> ListFunction:
        """What makes the lists of ``recommend``: a search where there is one, or ``top_items``."""
        search = None if queries.controls is not None else self.item_search(candidates)
        if search is None:
            return self.top_items
        return lambda some, _, k, masked: search.top_items(some, k, masked=masked)[:2]

    def portable_config(self) -> dict[str, Any]:
        """The configuration as plain values, without folders of this machine."""
        return self.config.model_dump(mode="json", context={"portable": True})

    def save(self, folder: Path | str) -> Path:
        """Write an artefact (see ``warmstart.artefact``) and return its folder."""
        check_process()
        folder = Path(folder)
        write_artefact(
            folder,
            method=self.name,
            config=self.portable_config(),
            fitted=self.fitted,
            state=self._state(),
        )
        return folder


@dataclass(frozen=True)
class FitContext:
    """Arguments of ``fit`` that ``_fit`` receives besides the data.

    Attributes:
        valid: validation slices, or None.
        models: the language models that the method needs.
        rng: generator of all random numbers of the fit.
        run: folder for checkpoints and stage timings.
    """

    valid: Validation | None
    models: LanguageModels
    rng: np.random.Generator
    run: Run

    @property
    def encoder(self) -> Encoder:
        """The text encoder, for methods that need one; ``fit`` has checked that it is not None."""
        assert self.models.encoder is not None
        return self.models.encoder

    @property
    def causal(self) -> Causal:
        """The causal LM, for methods that need one; ``fit`` has checked that it is not None."""
        assert self.models.causal is not None
        return self.models.causal

    def task(self, *names: str) -> RankingTask | None:
        """The first of the named ranking tasks that validation has; None without any of them."""
        return ranking_task(self.valid, *names)


def _check_language_models(method: str, needs: Collection[LMRole], encoder: Any, lm: Any) -> None:
    """Check that the language models that a method needs are there, and not exchanged.

    Raises:
        ConfigError: one is missing, or something else.
    """
    roles: tuple[tuple[LMRole, str, str, Any, str, str], ...] = (
        ("encoder", "a text encoder", "encoder", encoder, "encode", "load_encoder()"),
        ("causal", "a causal language model", "lm", lm, "log_likelihoods", "load_causal_lm()"),
    )
    for role, what, argument, given, ability, source in roles:
        if role in needs and not (hasattr(given, ability) and hasattr(given, "spec")):
            got = f"{argument}=None" if given is None else f"a {type(given).__name__}"
            raise ConfigError(f"{method}: needs {what}, got {got}; pass {source}")


def _check_inputs(method: str, traits: Traits, data: Dataset) -> None:
    """Check that the data have what a method learns from.

    Raises:
        DataError: they lack it.
    """
    rated = data.ratings is not None and data.positive_rating is not None
    if "ratings" in traits.reads and not rated:
        have = "ratings" if data.ratings is None else "positive_rating"
        raise DataError(
            f"{method}: learns from liked and disliked items, but {data.name!r} has no {have}; "
            "give a column rating and positive_rating, the lowest rating of a like"
        )
    if "dialogues" in traits.reads and data.dialogues is None:
        raise DataError(f"{method}: learns from dialogues, but {data.name!r} has none")
    if "texts" in traits.reads:
        _check_texts(method, data)


def _check_texts(method: str, data: Dataset) -> None:
    """Check that a method that learns from texts has some.

    Raises:
        DataError: the catalogue has no text column, or no warm item has a text.
    """
    catalogue = data.catalogue
    if not catalogue.text_columns and not catalogue.has_text.any():
        raise DataError(
            f"{method}: learns from texts, but the items of {data.name!r} have no text column; "
            f"their columns are {catalogue.columns.columns}; name the text columns, for example "
            "text = ['name', 'description'], in dataset.toml or from_frames"
        )
    if not catalogue.has_text[data.warm].any():
        raise DataError(
            f"{method}: learns from texts, but none of the {int(data.warm.sum())} items with "
            f"interactions in {data.name!r} has a text"
        )
