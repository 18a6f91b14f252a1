"""iALS: matrix factorisation of all pairs by alternating least squares.

Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; the
frequency-scaled regulariser is from Rendle, Krichene, Zhang, Koren, "Revisiting the Performance of
iALS on Item Recommendation Benchmarks", RecSys 2022, eq. 6. The objective is

    sum over all pairs of c_ui (p_ui - x_u.y_i)^2 + l2 (sum_u s_u |x_u|^2 + sum_i s_i |y_i|^2)

with c = 1, p = 0 for a pair without an interaction, c = 1 + alpha w, p = 1 for an interaction of
weight w, and s_u = ((alpha n_u + I) / (alpha mean(n) + I))^frequency_exponent, where n_u is the
user's summed weight and I the number of warm items; s_i is defined likewise. A sweep solves for
users, then for items, so every item vector is optimal for the final users, and fold-in is the same
solve with frozen users.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones.base import (
    EpochConfig,
    FactorBackbone,
    FactorTrainee,
    Validate,
    check_fold_in,
    check_train,
    required_arrays,
    shape_of,
)
from warmstart.backbones.least_squares import Basis, solve_rows, solve_rows_cg
from warmstart.backbones.limits import memory_limit


class IalsConfig(EpochConfig):
    """Settings of iALS.

    Attributes:
        epochs: maximum number of sweeps.
        alpha: confidence added by an interaction of weight 1.
        l2: strength of the regulariser.
        frequency_exponent: exponent of the frequency scaling s; 0 regularises all rows equally.
        solver: "exact", or "cg": a few conjugate-gradient steps per sweep, faster for long rows and
            less accurate.
        cg_steps: conjugate-gradient steps per sweep.
    """

    kind: Literal["ials"] = "ials"
    epochs: int = Field(default=12, ge=1)
    alpha: float = Field(default=40.0, gt=0)
    l2: float = Field(default=40.0, gt=0)
    frequency_exponent: float = Field(default=1.0, ge=0, le=2)
    solver: Literal["exact", "cg"] = "exact"
    cg_steps: int = Field(default=3, ge=1)


class Ials(FactorBackbone):
    """iALS for wide vectors; results do not depend on the number of threads."""

    name = "ials"
    config_type = IalsConfig

    def __init__(self, config: IalsConfig | None = None) -> None:
        super().__init__(config)
        self._item_ridge: Ridge | None = None
        self._user_ridge: Ridge | None = None
        self._basis: Basis | None = None
        self._item_basis: Basis | None = None

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        validate: Validate | None = None,
        rng: np.random.Generator,
        run_folder: Path | None = None,
    ) -> Self:
        train = check_train(self.name, train)
        with memory_limit(self.name, self.config.width, sum(shape_of(train))):
            sweeps = _Sweeps(train, self.config, rng)
            self._learn(sweeps, train, validate, rng, run_folder)
        self._item_ridge, self._user_ridge = sweeps.item_ridge, sweeps.user_ridge
        self._basis = self._item_basis = None
        return self

    def fold_in(
        self,
        interactions: sparse.csr_matrix,
        *,
        prior: np.ndarray | None = None,
        prior_weight: float = 1.0,
    ) -> np.ndarray:
        users, _ = self.vectors
        assert self._item_ridge is not None
        rows = check_fold_in(self.name, interactions, len(users), prior, users.shape[1])
        if self._basis is None:
            self._basis = Basis.of(users)
        ridge = self._item_ridge.of(rows) * np.float32(prior_weight)
        return solve_rows(self._basis, rows, alpha=self.config.alpha, ridge=ridge, prior=prior)[0]

    @property
    def folds_in_users(self) -> bool:
        return self._user_ridge is not None  # artefacts of format 1 do not have it

    def history_states(self, histories: sparse.csr_matrix) -> np.ndarray:
        """Solve for the vectors of unknown users with items frozen: float32, (queries, width)."""
        _, items = self.vectors
        assert self._user_ridge is not None
        if self._item_basis is None:
            self._item_basis = Basis.of(items)
        rows = sparse.csr_matrix(histories[:, : len(items)], dtype=np.float32)
        ridge = self._user_ridge.of(rows)
        return solve_rows(self._item_basis, rows, alpha=self.config.alpha, ridge=ridge)[0]

    def state(self) -> dict[str, np.ndarray]:
        users, items = self.vectors
        ridges = {"item_ridge": self._item_ridge, "user_ridge": self._user_ridge}
        return {
            "users": users,
            "items": items,
            **{
                name: np.array([ridge.mean_count, ridge.others])
                for name, ridge in ridges.items()
                if ridge is not None
            },
        }

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        self._users, self._items, ridge = required_arrays(
            self.name, state, "users", "items", "item_ridge"
        )
        self._item_ridge = Ridge(self.config, float(ridge[0]), float(ridge[1]))
        ridge = state.get("user_ridge")
        self._user_ridge = (
            None if ridge is None else Ridge(self.config, float(ridge[0]), float(ridge[1]))
        )
        self._basis = self._item_basis = None
        return self


@dataclass(frozen=True)
class Ridge:
    """Regularisation strength of a row as a function of its summed weight.

    Attributes:
        config: alpha, l2 and frequency_exponent.
        mean_count: mean summed weight of the rows that have interactions.
        others: number of rows of the other side that have interactions.
    """

    config: IalsConfig
    mean_count: float
    others: float

    @classmethod
    def learn(cls, config: IalsConfig, rows: sparse.csr_matrix) -> "Ridge":
        """Compute the constants from the rows of a training matrix."""
        counts = _counts(rows)
        others = np.count_nonzero(np.bincount(rows.indices, minlength=shape_of(rows)[1]))
        return cls(config, float(counts[counts > 0].mean()), float(others))

    def of(self, rows: sparse.csr_matrix) -> np.ndarray:
        """Return l2 s of every row: float32, shape (rows,)."""
        alpha = self.config.alpha
        relative = (alpha * _counts(rows) + self.others) / (alpha * self.mean_count + self.others)
        return (self.config.l2 * relative**self.config.frequency_exponent).astype(np.float32)


class _Sweeps(FactorTrainee):
    """Solves for users, then for items, in each epoch."""

    def __init__(
        self, train: sparse.csr_matrix, config: IalsConfig, rng: np.random.Generator
    ) -> None:
        self.config = config
        self.by_user, self.by_item = train, train.T.tocsr()
        self.user_ridge = Ridge.learn(config, self.by_user)
        self.item_ridge = Ridge.learn(config, self.by_item)
        scale = 0.1 / np.sqrt(config.width)
        self.users = np.zeros((shape_of(train)[0], config.width), np.float32)
        self.items = rng.normal(0, scale, (shape_of(train)[1], config.width)).astype(np.float32)
        self.items[np.diff(self.by_item.indptr) == 0] = 0

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.users, self.items

    def state(self) -> dict[str, np.ndarray]:
        return {"users": self.users, "items": self.items}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.users, self.items = state["users"], state["items"]

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        user_ridge, item_ridge = self.user_ridge.of(self.by_user), self.item_ridge.of(self.by_item)
        self.users, _ = self._half(self.items, self.by_user, self.users, user_ridge)
        self.items, observed = self._half(self.users, self.by_item, self.items, item_ridge)
        unobserved = np.vdot(self.users.T @ self.users, self.items.T @ self.items)
        penalty = user_ridge @ _square(self.users) + item_ridge @ _square(self.items)
        yield float(observed + unobserved + penalty) / self.by_user.nnz

    def _half(
        self, frozen: np.ndarray, rows: sparse.csr_matrix, current: np.ndarray, ridge: np.ndarray
    ) -> tuple[np.ndarray, float]:
        basis, config = Basis.of(frozen), self.config
        if config.solver == "exact":
            return solve_rows(basis, rows, alpha=config.alpha, ridge=ridge)
        return solve_rows_cg(
            basis, rows, current, alpha=config.alpha, ridge=ridge, steps=config.cg_steps
        )


def _counts(rows: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(rows.sum(axis=1)).ravel()


def _square(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", vectors, vectors)
