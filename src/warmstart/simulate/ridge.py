"""Text to user distribution in closed form: (kernel) ridge regression of the interaction matrix.

With X the text vectors of the warm items and Y their binary rows over users:

    linear   score = x (XᵀX + λI)⁻¹ XᵀY
    rbf      score = k(x, X) (K + λI)⁻¹ Y,   k(a, b) = exp(-γ‖a - b‖²)

For a warm item the rbf fit needs no kernel: K (K + λI)⁻¹ Y = Y - λ (K + λI)⁻¹ Y. Where there are
more warm items than ``landmarks``, that many of them, drawn at random, span the solution (subset of
regressors, Smola and Schölkopf 2000), so memory stays landmarks x (landmarks + users) floats.
"""

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import linalg, sparse

from warmstart.config import Config
from warmstart.errors import ConfigError

_BLOCK = 1024


class RidgeConfig(Config):
    """Settings of the closed-form head.

    Attributes:
        kernel: "linear" or "rbf".
        l2: λ; the larger, the smoother.
        gamma: γ of the rbf kernel on unit vectors.
        landmarks: the most warm items that span the rbf solution.
    """

    kernel: Literal["linear", "rbf"] = "rbf"
    l2: float = Field(3.0, gt=0)
    gamma: float = Field(0.5, gt=0)
    landmarks: int = Field(20_000, ge=1)


class TextRidge:
    """A fitted head: text vectors in, scores over users out.

    Attributes:
        centres: text vectors that span the solution (rbf), float32, shape (centres, width); empty
            for the linear kernel.
        weights: float32, shape (centres or width, n_users).
    """

    def __init__(self, config: RidgeConfig, centres: np.ndarray, weights: np.ndarray) -> None:
        self.config = config
        self.centres = centres
        self.weights = weights

    @classmethod
    def fit(
        cls,
        config: RidgeConfig,
        vectors: np.ndarray,
        targets: sparse.csr_matrix,
        rng: np.random.Generator,
    ) -> "TextRidge":
        """Solve the regression.

        Args:
            config: kernel and regularisation.
            vectors: text vectors of the warm items, float32, shape (items, width).
            targets: their interactions, CSR, shape (items, n_users).
            rng: draws the landmarks, where there are more items than that.

        Raises:
            ConfigError: the system cannot be solved (l2 too small for float32).
        """
        try:
            if config.kernel == "linear":
                gram = vectors.T @ vectors
                return cls(config, vectors[:0], _solve(gram, config.l2, _project(targets, vectors)))
            if len(vectors) <= config.landmarks:
                kernel = rbf(vectors, vectors, config.gamma)
                return cls(config, vectors, _solve(kernel, config.l2, targets.toarray()))
            chosen = np.sort(rng.choice(len(vectors), config.landmarks, replace=False))
            centres = vectors[chosen]
            gram = config.l2 * rbf(centres, centres, config.gamma)
            right = np.zeros((len(centres), targets.shape[1]), np.float32)
            for start in range(0, len(vectors), _BLOCK):
                block = rbf(vectors[start : start + _BLOCK], centres, config.gamma)
                gram += block.T @ block
                right += _project(targets[start : start + _BLOCK], block)
            return cls(config, centres, _solve(gram, 1e-4 * config.l2, right))
        except linalg.LinAlgError as error:
            raise ConfigError(f"text ridge: l2={config.l2} is too small: {error}") from None

    def predict(self, vectors: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Scores over users, float32, shape (items, users); all users where None."""
        weights = self.weights if users is None else self.weights[:, users]
        if self.config.kernel == "linear":
            return vectors @ weights
        scores = np.empty((len(vectors), weights.shape[1]), np.float32)
        for start in range(0, len(vectors), _BLOCK):
            rows = slice(start, start + _BLOCK)
            scores[rows] = rbf(vectors[rows], self.centres, self.config.gamma) @ weights
        return scores

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for the artefact."""
        return {"centres": self.centres, "weights": self.weights}

    @classmethod
    def restore(cls, config: RidgeConfig, state: dict[str, np.ndarray]) -> "TextRidge":
        """The head that gave ``state``."""
        return cls(config, state["centres"], state["weights"])


def rbf(left: np.ndarray, right: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-gamma ‖a - b‖²) of all pairs, float32, shape (left, right)."""
    kernel = left @ right.T
    kernel *= 2
    kernel -= np.square(left).sum(1)[:, None]
    kernel -= np.square(right).sum(1)
    np.minimum(kernel, 0, out=kernel)
    kernel *= gamma
    return np.exp(kernel, out=kernel)


def _project(targets: sparse.csr_matrix, vectors: np.ndarray) -> np.ndarray:
    """vectorsᵀ targets, shape (width, n_users)."""
    return np.ascontiguousarray((targets.T @ vectors).T)


def _solve(gram: np.ndarray, l2: float, right: np.ndarray) -> np.ndarray:
    gram[np.diag_indices_from(gram)] += l2
    factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    return linalg.cho_solve(factor, right, overwrite_b=True, check_finite=False).astype(np.float32)
