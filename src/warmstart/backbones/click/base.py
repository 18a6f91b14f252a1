"""Base class of click models: the probability that a user will like an item.

Unlike the other backbones, a click model learns from labelled pairs, liked and disliked, and it is
asked for pairs, each with the user's history before it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from scipy import sparse
from scipy.special import expit

from warmstart.backbones.base import required_arrays
from warmstart.backbones.click.data import (
    ClickData,
    Events,
    HistoryRanges,
    check_rows,
    item_features,
)
from warmstart.backbones.configured import Configured
from warmstart.config import Config
from warmstart.data.queries import Queries
from warmstart.data.tasks import LabelTask
from warmstart.errors import DataError, NotFittedError

PredictFunction: TypeAlias = Callable[[Queries, np.ndarray], np.ndarray]
"""(queries, item of each query int32) -> probabilities float32, shape (pairs,)."""

Validate: TypeAlias = Callable[[PredictFunction], float]
"""Computes the validation metric of a predict function; bigger is better."""

_SMALLEST = 1e-7  # a certain prediction that is wrong would otherwise decide alone


def label_likelihood(predict: PredictFunction, task: LabelTask) -> float:
    """Compute the mean log-likelihood of the labels of a task, for early stopping.

    It is minus the log loss, so bigger is better. It stops training before probabilities become
    too sure, which the AUC does not see.
    """
    probabilities = predict(task.queries, task.items).astype(np.float64)
    of_labels = np.where(task.labels, probabilities, 1 - probabilities)
    return float(np.log(np.maximum(of_labels, _SMALLEST)).mean())


class ClickModel(Configured, ABC):
    """A model of the probability that a user will like an item.

    Args:
        config: an instance of ``config_type``; None uses its defaults.

    Raises:
        ConfigError: ``config`` is of another type.
    """

    role = "click model"

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self._training: HistoryRanges | None = None
        self._n_items, self._threshold = 0, 0.0

    def fit(
        self,
        pairs: ClickData,
        *,
        validate: Validate | None = None,
        rng: np.random.Generator,
        run_folder: Path | None = None,
    ) -> Self:
        """Learn from labelled pairs; a second fit discards the first.

        Args:
            pairs: the training pairs.
            validate: early stopping keeps the epoch with the best value, for example of
                ``label_likelihood``; None trains all epochs.
            rng: the only source of randomness.
            run_folder: folder of checkpoints and log; an unfinished run in it is resumed.

        Raises:
            ConfigError: a setting makes the training diverge.
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        self._training = pairs.by_user
        self._n_items, self._threshold = pairs.n_items, pairs.threshold
        self._fit(pairs, validate, rng, run_folder)
        return self

    def predict_proba(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """Predict whether the user of each query will like one item.

        A known user without history in the query is known by the training pairs; an unknown user
        (-1) without history is the average user. An item without ratings is predicted from its
        features, or is the average item.

        Args:
            queries: one per pair; a history must end before the event that is predicted. Without
                ratings, all its items are liked.
            items: int32 rows, shape (pairs,).

        Returns:
            float32 in [0, 1], shape (pairs,).

        Raises:
            NotFittedError: before ``fit`` or ``restore``.
            DataError: there is not one item per query, or a row number is unknown.
        """
        who, training = f"click model {self.name}", self._fitted()
        items = np.asarray(items)
        if items.shape != (len(queries),):
            raise DataError(
                f"{who}: items have shape {items.shape} for {len(queries)} queries; allowed: one "
                "item per query"
            )
        check_rows(who, "user", queries.users, -1, len(training))
        check_rows(who, "item", items, 0, self._n_items)
        if queries.histories is not None:
            histories = HistoryRanges.of_histories(queries.histories, self._threshold)
            check_rows(f"{who}: histories", "item", histories.events.items, 0, self._n_items)
        else:
            known = training.take(np.maximum(queries.users, 0))
            stops = np.where(queries.users >= 0, known.ends, known.starts)
            histories = HistoryRanges(known.events, known.starts, stops)
        return expit(self._logits(queries.users, items, histories)).astype(np.float32)

    def add_items(
        self,
        n_items: int,
        attributes: sparse.csr_matrix | None = None,
        text_vectors: np.ndarray | None = None,
    ) -> None:
        """Append items without ratings, which are predicted from their features.

        Args:
            n_items: number of new items.
            attributes: as in the training pairs, with the same columns: CSR, shape (n_items,
                values).
            text_vectors: as in the training pairs: float32, shape (n_items, width).

        Raises:
            NotFittedError: before ``fit`` or ``restore``.
        """
        self._fitted()
        self._extend(item_features(n_items, attributes, text_vectors), attributes)
        self._n_items += n_items

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays from which ``restore`` reproduces the predictions exactly."""
        training = self._fitted()
        return {
            "training_ends": training.ends,
            "training_items": training.events.items,
            "training_liked": training.events.liked,
            "constants": np.array([self._n_items, self._threshold]),
            **self._learned(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        """Load the arrays of ``state``.

        Raises:
            ArtefactError: an array is missing.
        """
        names = ("training_ends", "training_items", "training_liked", "constants")
        ends, items, liked, constants = required_arrays(self.name, state, *names)
        starts = np.concatenate([ends[:1] * 0, ends[:-1]])
        self._training = HistoryRanges(Events(items, liked), starts, ends)
        self._n_items, self._threshold = int(constants[0]), float(constants[1])
        self._load(state)
        return self

    @abstractmethod
    def _fit(
        self,
        pairs: ClickData,
        validate: Validate | None,
        rng: np.random.Generator,
        run_folder: Path | None,
    ) -> None:
        """Learn from the pairs."""

    @abstractmethod
    def _logits(self, users: np.ndarray, items: np.ndarray, histories: HistoryRanges) -> np.ndarray:
        """Compute the log-odds of pairs: float, shape (pairs,); user -1 is unknown."""

    @abstractmethod
    def _extend(self, features: np.ndarray, attributes: sparse.csr_matrix | None) -> None:
        """Append items: features float32, (new_items, n_features), and their attributes alone."""

    @abstractmethod
    def _learned(self) -> dict[str, np.ndarray]:
        """Return what ``_load`` needs, by name."""

    @abstractmethod
    def _load(self, state: dict[str, np.ndarray]) -> None:
        """Load what ``_learned`` returned."""

    def _fitted(self) -> HistoryRanges:
        if self._training is None:
            raise NotFittedError(f"click model {self.name}: call fit or restore first")
        return self._training
