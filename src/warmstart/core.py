"""The base of every recommender: what it can do, and what it declares about itself.

A method writes ``_fit``, ``_score``, ``_state`` and ``_restore``; this base adds ``fit``,
``score``, ``recommend`` and ``save``. Users and items are row numbers inside; external ids stay at
the border.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
import polars as pl

from warmstart.artefact import write_artefact
from warmstart.config import Config, constructor_signature, merged, settings_docs
from warmstart.data.dataset import Dataset
from warmstart.data.ids import ExternalId
from warmstart.data.splits.cold import Validation
from warmstart.errors import ConfigError, DataError, NotFittedError
from warmstart.fitted import Fitted
from warmstart.lists import OnUnknown, known_items, ranked_lists, requested_users
from warmstart.process import check_process
from warmstart.run import Run


class Encoder(Protocol):
    """What methods use of a ``warmstart.lm.TextEncoder``.

    Attributes:
        lm: the language model, for methods that tune it or ask it about pairs.
        spec: portable reference to it, plain JSON values.
        width: length of a text vector.
        folder: where its cache is; None is the default place.
        cache: the cache of vectors; None without one.
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
        """Encode texts as unit vectors: float32, shape (texts, width); "" is the zero vector."""
        ...


@dataclass(frozen=True)
class Traits:
    """What a method declares; the contract checks hold it to that.

    Attributes:
        reads: what ``fit`` learns from.
        cold_items: how an item without interactions is scored: not at all (NaN), by a prior that
            is the same for every cold item, by its content, or through simulated interactions.
        needs_lm: whether ``fit`` must be given a language model.
        exact_repeat: whether the same seed gives bit-identical scores.
        personal: whether scores depend on the user; those of popularity do not.
    """

    reads: frozenset[Literal["interactions", "texts"]]
    cold_items: Literal["none", "prior", "content", "simulated"]
    needs_lm: bool = False
    exact_repeat: bool = True
    personal: bool = True


class Recommender(ABC):
    """Scores items for users.

    Args:
        config: the method's configuration; its defaults where None.
        settings: or single settings by name, validated likewise.
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

    # -- to be written by a method --

    @abstractmethod
    def _fit(self, data: Dataset, context: "FitContext") -> None: ...

    @abstractmethod
    def _score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``score``, in a new array; what it gives for a cold item without text is not used."""

    @abstractmethod
    def _state(self) -> dict[str, np.ndarray]:
        """Arrays that ``_restore`` needs to score as now."""

    @abstractmethod
    def _restore(self, state: dict[str, np.ndarray], lm: Encoder | None) -> None: ...

    # -- given by the base --

    def fit(
        self,
        data: Dataset,
        *,
        valid: Validation | None = None,
        lm: Encoder | None = None,
        rng: np.random.Generator | int = 0,
        run: Run | None = None,
    ) -> Self:
        """Learn from ``data``; a second fit forgets the first.

        Args:
            data: users, catalogue (cold items too) and training interactions.
            valid: slices on which epochs and scales are chosen. Without them the values of the
                configuration are used as they stand; ``chosen`` carries choices from one fit to
                the next.
            lm: a ``warmstart.lm.TextEncoder``, where ``traits.needs_lm``.
            rng: generator or seed; no global random state is read.
            run: folder for checkpoints and stage timings; temporary where None.

        Raises:
            ConfigError: the method needs a language model and none is given.
            DataError: there are no interactions to learn from, or no texts for a method that
                learns from texts.
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        check_process()
        if self.traits.needs_lm and lm is None:
            raise ConfigError(f"{self.name}: needs a language model, got lm=None; pass load_lm()")
        if len(data.interactions) == 0:
            raise DataError(f"{self.name}: {data.name!r} holds no training interactions")
        if "texts" in self.traits.reads:
            _check_texts(self.name, data)
        self._fitted = Fitted.of(data)
        self._fitted.lm_spec = lm.spec if self.traits.needs_lm and lm is not None else None
        context = FitContext(valid, lm, np.random.default_rng(rng), run or Run())
        try:
            self._fit(data, context)
        except BaseException:
            self._fitted = None  # half a fit must not answer
            raise
        return self

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Turn access to fitted state before ``fit`` into a NotFittedError."""
            private = name.startswith("_") and not name.startswith("__")
            if vars(self).get("_fitted") is None and (private or hasattr(type(self), name)):
                raise NotFittedError(f"{self.name}: call fit or load first")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def fitted(self) -> Fitted:
        """Ids, catalogue and histories of the data that was fitted.

        Raises:
            NotFittedError: before ``fit`` or ``load``.
        """
        if self._fitted is None:
            raise NotFittedError(f"{self.name}: call fit or load first")
        return self._fitted

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of items for users; bigger is better, any scale.

        Args:
            users: int32 row numbers, shape (queries,).
            items: int32 row numbers, shape (items,).

        Returns:
            float32, shape (queries, items); NaN where the method cannot score the pair. A method
            that learns from texts never scores a cold item without text: nothing is known of it,
            so that it must not stand above anything (the no-harm rule).
        """
        scores = self._score(users, items)
        if "texts" in self.traits.reads:
            fitted = self.fitted
            unknown = ~fitted.warm[items] & ~fitted.catalogue.has_text[items]
            if unknown.any():
                scores[:, unknown] = np.nan
        return scores

    @property
    def chosen(self) -> Config:
        """The configuration with the choices of the last fit, to refit with on all data."""
        return self.config_type.build(
            merged(self.config.model_dump(mode="json"), self.fitted.choices)
        )

    def recommend(
        self,
        users: Sequence[ExternalId],
        k: int = 10,
        *,
        items: Sequence[ExternalId] | None = None,
        exclude_seen: bool = True,
        only_cold: bool = False,
        on_unknown: OnUnknown = "raise",
        memory_mb: float = 256,
    ) -> pl.DataFrame:
        """The k best items for each user.

        Args:
            users: external ids; any list, array or column.
            k: list length. A list is shorter where fewer items can be scored.
            items: rank these items only.
            exclude_seen: leave out what the user has seen in training: interactions, and what they
                rated below the threshold of a positive.
            only_cold: rank only items without an interaction.
            on_unknown: what to do with a user who was not in the training data, or had no
                interaction there: an error, or no list with or without a warning, or "popular", the
                items by number of training interactions (items without any are not ranked). A
                method whose scores do not depend on the user ranks for everybody alike.
            memory_mb: users are scored in blocks of about this much memory, in MiB, at
                ``rank.BYTES_PER_PAIR`` bytes a pair. The lists do not depend on it.

        Returns:
            Columns user, item, score (float32), rank (int32, from 1), is_cold (bool).

        Raises:
            DataError: unknown ids, or k below 1.
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        check_process()
        fitted = self.fitted
        if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
            raise DataError(f"recommend: k must be a whole number from 1, got {k!r}")
        requested = requested_users(fitted, users, on_unknown, personal=self.traits.personal)
        candidates = np.arange(len(fitted.catalogue), dtype=np.int32)
        if items is not None:
            candidates = np.unique(known_items(fitted.catalogue.item_ids, items, "recommend"))
        if only_cold:
            candidates = candidates[~fitted.warm[candidates]]
        return ranked_lists(
            self.score,
            fitted,
            requested,
            candidates,
            int(k),
            exclude_seen=exclude_seen,
            memory_mb=memory_mb,
        )

    def save(self, folder: Path | str) -> Path:
        """Write the artefact; see ``warmstart.artefact``."""
        folder = Path(folder)
        write_artefact(
            folder,
            method=self.name,
            config=self.config.model_dump(mode="json"),
            fitted=self.fitted,
            state=self._state(),
        )
        return folder


@dataclass(frozen=True)
class FitContext:
    """What ``_fit`` gets beside the data.

    Attributes:
        valid: validation slices, or None.
        lm: the text encoder, or None.
        rng: the source of all randomness of the fit.
        run: folder for checkpoints and stage timings.
    """

    valid: Validation | None
    lm: Encoder | None
    rng: np.random.Generator
    run: Run

    @property
    def encoder(self) -> Encoder:
        """The text encoder of a method that needs one; ``fit`` has checked that it is there."""
        assert self.lm is not None
        return self.lm


def _check_texts(who: str, data: Dataset) -> None:
    """Refuse to learn from texts that are not there.

    Raises:
        DataError: there is no text column, or no warm item has a text.
    """
    catalogue = data.catalogue
    if not catalogue.text_columns and not catalogue.has_text.any():
        raise DataError(
            f"{who}: learns from texts, and the items of {data.name!r} have no text column; their "
            f"columns are {catalogue.columns.columns}; name those of the text, such as "
            "text = ['name', 'description'], in dataset.toml or from_frames"
        )
    if not catalogue.has_text[data.warm].any():
        raise DataError(
            f"{who}: learns from texts, and none of the {int(data.warm.sum())} items with an "
            f"interaction in {data.name!r} has one"
        )
