"""Base classes and input checks of the collaborative-filtering backbones.

A backbone is fitted on a user-item matrix, scores warm items, and adds a new item by *fold-in*: it
computes the item's representation from the item's interactions (simulated or true), while users and
warm items stay bit for bit unchanged. Backbones do not depend on language models.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones.configured import Configured
from warmstart.backbones.limits import check_finite
from warmstart.config import Config
from warmstart.data.ids import Ids
from warmstart.errors import ArtefactError, DataError, NotFittedError
from warmstart.rank import UserScoreFunction
from warmstart.train import Schedule, Trainee, run_epochs

Validate: TypeAlias = Callable[[UserScoreFunction], float]
"""Computes the validation metric of a score function; bigger is better."""


class Backbone(Configured, ABC):
    """Collaborative filtering on a user-item matrix.

    Args:
        config: an instance of ``config_type``; None uses its defaults.

    Raises:
        ConfigError: ``config`` is of another type.
    """

    def read_inputs(self, user_ids: Ids, item_ids: Ids) -> None:
        """Read from files what belongs to these users and items, before ``fit``.

        Only a backbone that was trained elsewhere has such files; the default reads nothing.

        Raises:
            DataError: a file is missing, malformed or has changed.
        """

    @abstractmethod
    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        validate: Validate | None = None,
        rng: np.random.Generator,
        run_folder: Path | None = None,
    ) -> Self:
        """Learn from ``train``; a second fit discards the first.

        Args:
            train: weights in (0, 1], float32, shape (n_users, n_items). Users and items without
                interactions are allowed: they are never sampled as negatives, and score 0.
            validate: early stopping keeps the epoch with the best value; None trains all epochs.
            rng: the only source of randomness.
            run_folder: folder of checkpoints and log; an unfinished run in it is resumed.

        Raises:
            ConfigError: a setting makes the training diverge.
            DataError: ``train`` has no interactions, or a weight is outside (0, 1].
            UnsupportedError: the model does not fit into memory, or this process was forked from
                one that had used warmstart.
        """

    # -- who asks, and warm items, in the form in which they are scored --

    @abstractmethod
    def user_states(self, users: np.ndarray) -> Any:
        """Return the states of known users, by int32 row numbers: their vectors, for example."""

    @property
    def folds_in_users(self) -> bool:
        """Whether unknown users have states too: ``history_states``."""
        return False

    def history_states(self, histories: sparse.csr_matrix) -> Any:
        """Return the states of users who were not in the fit, if ``folds_in_users``.

        Args:
            histories: interactions of these users, CSR, shape (queries, at least n_items); items
                after those of the fit are ignored.
        """
        raise NotImplementedError

    @abstractmethod
    def warm_items(self, items: np.ndarray) -> Any:
        """Return what scoring these items, int32 row numbers, needs: their vectors, for example."""

    # -- scores --

    @abstractmethod
    def score_states(self, states: Any, items: Any) -> np.ndarray:
        """Score all pairs of states and ``warm_items``: float32, shape (queries, items)."""

    @abstractmethod
    def score_folded_states(self, states: Any, folded: np.ndarray) -> np.ndarray:
        """Score all pairs of states and folded-in items: float32, shape (queries, new_items)."""

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Score all pairs of int32 row numbers: float32, shape (users, items)."""
        return self.score_states(self.user_states(users), self.warm_items(items))

    def score_folded(self, users: np.ndarray, folded: np.ndarray) -> np.ndarray:
        """Score folded-in items for users: float32, shape (users, new_items)."""
        return self.score_folded_states(self.user_states(users), folded)

    @abstractmethod
    def fold_in(
        self,
        interactions: sparse.csr_matrix,
        *,
        prior: np.ndarray | None = None,
        prior_weight: float = 1.0,
    ) -> np.ndarray:
        """Compute the representation of new items; learned parameters do not change.

        Args:
            interactions: weights in (0, 1], float32, shape (new_items, n_users).
            prior: an estimate of the result, for example from the item's text; the regulariser
                shrinks towards it instead of zero. float32, shape (new_items, width).
            prior_weight: multiplies the regulariser.

        Returns:
            What ``score_folded_states`` needs, float32, shape (new_items, width): item vectors like
            those in ``vectors`` for factor models, regression columns over the items for EASE.

        Raises:
            DataError: a shape does not match the fitted model, or a weight is outside (0, 1].
        """

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays from which ``restore`` reproduces scores and fold-in exactly."""

    @abstractmethod
    def restore(self, state: dict[str, np.ndarray]) -> Self:
        """Load the arrays of ``state``.

        Raises:
            ArtefactError: an array is missing.
        """


class EpochConfig(Config):
    """Settings of every backbone that is trained in epochs.

    Attributes:
        width: length of the vectors.
        epochs: maximum number of epochs; with validation the best one is kept.
        validate_every: number of epochs between validations.
        patience: validations without improvement before training stops.
    """

    width: int = Field(default=512, ge=1)
    epochs: int = Field(default=30, ge=1)
    validate_every: int = Field(default=1, ge=1)
    patience: int = Field(default=3, ge=1)


class FactorTrainee(Trainee):
    """A trainee that learns user and item vectors."""

    @abstractmethod
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the current vectors, float32: (n_users, width) and (n_items, width)."""


class FactorBackbone(Backbone):
    """A backbone whose score is the dot product of a user vector and an item vector."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self._users: np.ndarray | None = None
        self._items: np.ndarray | None = None

    @property
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """User vectors (n_users, width) and item vectors (n_items, width), float32.

        Raises:
            NotFittedError: before ``fit`` or ``restore``.
        """
        if self._users is None or self._items is None:
            raise NotFittedError(f"backbone {self.name}: call fit or restore first")
        return self._users, self._items

    def _learn(
        self,
        trainee: FactorTrainee,
        train: sparse.csr_matrix,
        validate: Validate | None,
        rng: np.random.Generator,
        run_folder: Path | None,
    ) -> None:
        """Run the training loop, then store the vectors and the chosen number of epochs."""

        def metric() -> float:
            assert validate is not None
            users, items = trainee.vectors()
            return validate(lambda u, i: users[u] @ items[i].T)

        config = self.config
        outcome = run_epochs(
            trainee,
            Schedule(config.epochs, config.validate_every, config.patience, self.name),
            rng,
            validate=metric if validate else None,
            folder=run_folder,
            settings=f"{config.model_dump_json()} {_hash(train)}",
        )
        users, items = trainee.vectors()
        check_finite(self.name, "the settings of the training", users, items)
        self._users, self._items = users, items
        self.chosen_config = config.model_copy(update={"epochs": outcome.best_epoch})

    def user_states(self, users: np.ndarray) -> np.ndarray:
        return self.vectors[0][users]

    def warm_items(self, items: np.ndarray) -> np.ndarray:
        vectors = self.vectors[1]
        if np.array_equal(items, np.arange(len(vectors))):
            return vectors  # all of them: no copy, which may be of gigabytes
        return vectors[items]

    def score_states(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        return states @ items.T

    def score_folded_states(self, states: np.ndarray, folded: np.ndarray) -> np.ndarray:
        return states @ folded.T


def shape_of(matrix: sparse.csr_matrix) -> tuple[int, int]:
    """Return rows and columns as int; scipy's annotation of ``shape`` allows None."""
    rows, columns = matrix.shape  # pyright: ignore[reportGeneralTypeIssues]
    return rows, columns


def check_train(name: str, train: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return ``train`` as canonical float32 CSR with sorted indices.

    Raises:
        DataError: there are no interactions, or a weight is outside (0, 1].
    """
    if train.nnz == 0:
        raise DataError(f"backbone {name}: the training matrix contains no interactions")
    return check_weights(name, train)


def check_weights(name: str, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return ``matrix`` as canonical float32 CSR with sorted indices.

    Raises:
        DataError: a weight is outside (0, 1]; names the first one with its row and column.
    """
    matrix = sparse.csr_matrix(matrix, dtype=np.float32)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    wrong = np.flatnonzero(~((matrix.data > 0) & (matrix.data <= 1)))
    if len(wrong):
        row = int(np.searchsorted(matrix.indptr, wrong[0], "right")) - 1
        raise DataError(
            f"backbone {name}: weights must lie in (0, 1], got {matrix.data[wrong[0]]} "
            f"in row {row}, column {matrix.indices[wrong[0]]}"
        )
    return matrix


def check_fold_in(
    name: str,
    interactions: sparse.csr_matrix,
    n_users: int,
    prior: np.ndarray | None,
    width: int,
) -> sparse.csr_matrix:
    """Return ``interactions`` in canonical form after checking them and the prior.

    Raises:
        DataError: a shape does not match the backbone, or a weight is outside (0, 1].
    """
    if shape_of(interactions)[1] != n_users:
        raise DataError(
            f"backbone {name}: interactions to fold in must have {n_users} columns (users), "
            f"got shape {interactions.shape}"
        )
    if prior is not None and prior.shape != (shape_of(interactions)[0], width):
        raise DataError(
            f"backbone {name}: the prior must have shape {(shape_of(interactions)[0], width)}, "
            f"got {prior.shape}"
        )
    return check_weights(name, interactions)


def _hash(matrix: sparse.csr_matrix) -> str:
    digest = hashlib.sha256(repr(matrix.shape).encode())
    for array in (matrix.indptr, matrix.indices, matrix.data):
        digest.update(array.tobytes())
    return digest.hexdigest()


def required_arrays(name: str, state: dict[str, np.ndarray], *keys: str) -> list[np.ndarray]:
    """Return the arrays of a saved state that ``keys`` name, in that order.

    Raises:
        ArtefactError: an array is missing.
    """
    missing = [key for key in keys if key not in state]
    if missing:
        raise ArtefactError(f"backbone {name}: the saved state lacks {missing}, has {list(state)}")
    return [state[key] for key in keys]
