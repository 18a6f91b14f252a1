"""The contract: what every recommender can be asked, and what it declares about itself.

A method writes ``_fit``, ``score``, ``_state`` and ``_restore``; this base gives ``recommend``,
``save`` and ``load``. Inside, users and items are row numbers; external ids live at the border.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from warmstart.artefact import write_artefact
from warmstart.config import Config, merged
from warmstart.data.dataset import Dataset
from warmstart.data.ids import ExternalId, id_column
from warmstart.data.splits.cold import Validation
from warmstart.errors import ConfigError, DataError, NotFittedError
from warmstart.fitted import Fitted
from warmstart.rank import top_k
from warmstart.run import Run


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

    # -- to be written by a method --

    @abstractmethod
    def _fit(self, data: Dataset, context: "FitContext") -> None: ...

    @abstractmethod
    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of items for users; bigger is better, any scale.

        Args:
            users: int32 row numbers, shape (queries,).
            items: int32 row numbers, shape (items,).

        Returns:
            float32, shape (queries, items); NaN where the method cannot score the pair.
        """

    @abstractmethod
    def _state(self) -> dict[str, np.ndarray]:
        """Arrays that ``_restore`` needs to score as now."""

    @abstractmethod
    def _restore(self, state: dict[str, np.ndarray], lm: Any | None) -> None: ...

    # -- given by the base --

    def fit(
        self,
        data: Dataset,
        *,
        valid: Validation | None = None,
        lm: Any | None = None,
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
            DataError: there are no interactions to learn from.
        """
        if self.traits.needs_lm and lm is None:
            raise ConfigError(f"{self.name}: needs a language model, got lm=None; pass load_lm()")
        if len(data.interactions) == 0:
            raise DataError(f"{self.name}: {data.name!r} holds no training interactions")
        self._fitted = Fitted(data.user_ids, data.catalogue, data.matrix, data.warm)
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
            """Reached for what is not there: before ``fit``, a method's own state."""
            if name.startswith("_") and not name.startswith("__") and name != "_fitted":
                _ = self.fitted
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
        on_unknown: Literal["raise", "warn", "ignore"] = "raise",
    ) -> pl.DataFrame:
        """The k best items for each user.

        Args:
            users: external ids.
            k: list length; fewer where fewer items can be scored.
            items: rank these items only.
            exclude_seen: leave out what the user has interacted with in training.
            only_cold: rank only items without an interaction.
            on_unknown: what to do with a user that was not in the training data.

        Returns:
            Columns user, item, score (float32), rank (from 1), is_cold.

        Raises:
            DataError: unknown ids, or k outside 1..number of candidates.
        """
        fitted = self.fitted
        candidates = np.arange(len(fitted.catalogue), dtype=np.int32)
        if items is not None:
            candidates = np.unique(fitted.catalogue.item_ids.known_rows(items))
        if only_cold:
            candidates = candidates[~fitted.warm[candidates]]
        if not 1 <= k <= len(candidates):
            raise DataError(f"recommend: k must be within 1..{len(candidates)} candidates, got {k}")
        rows = self._user_rows(users, on_unknown)
        masked = fitted.seen[rows][:, candidates].tocsr() if exclude_seen else None
        positions, scores = top_k(self.score(rows, candidates), k, masked=masked)
        query, place = np.nonzero(positions >= 0)
        chosen = candidates[positions[query, place]]
        return pl.DataFrame(
            {
                "user": id_column(fitted.user_ids, rows[query]),
                "item": id_column(fitted.catalogue.item_ids, chosen),
                "score": scores[query, place].astype(np.float32),
                "rank": place.astype(np.int32) + 1,
                "is_cold": ~fitted.warm[chosen],
            }
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

    def _user_rows(self, users: Sequence[ExternalId], on_unknown: str) -> np.ndarray:
        ids = self.fitted.user_ids
        if on_unknown not in ("raise", "warn", "ignore"):
            raise ConfigError(
                f"recommend: on_unknown must be 'raise', 'warn' or 'ignore', got {on_unknown!r}"
            )
        if on_unknown == "raise":
            return ids.known_rows(users)
        rows = ids.rows(users)
        unknown = [users[i] for i in np.flatnonzero(rows < 0).tolist()]
        if unknown and on_unknown == "warn":
            warnings.warn(
                f"{len(unknown)} unknown user id(s) left out: {unknown[:5]!r}", stacklevel=3
            )
        return rows[rows >= 0]


@dataclass(frozen=True)
class FitContext:
    """What ``_fit`` gets beside the data: validation slices, language model, randomness, run."""

    valid: Validation | None
    lm: Any
    rng: np.random.Generator
    run: Run
