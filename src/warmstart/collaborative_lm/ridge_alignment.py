"""Stage 1 in closed form: a regression from texts to the vectors of the backbone.

    Q ──(kernel) ridge──▶ E'        of an item without a vector of the backbone; others keep theirs

Gantner et al. 2010, "Learning Attribute-to-Feature Mappings for Cold-Start Recommendations" (ICDM).
The simple rival of the two autoencoders (``alignment``): nothing is trained by steps, and warm
items are ranked exactly as the backbone does. A regression shrinks towards zero, and a short vector
is low in everybody's list, so predictions get the mean length of the learned vectors.
"""

from typing import Literal

import numpy as np
from scipy import sparse

from warmstart.config import Config
from warmstart.simulate.ridge import RidgeConfig, RidgeHead, VectorRidgeConfig


class RidgeAlignmentConfig(Config):
    """Settings of stage 1 in closed form.

    Attributes:
        kind: "ridge".
        ridge: settings of the regression.
    """

    kind: Literal["ridge"] = "ridge"
    ridge: VectorRidgeConfig = RidgeConfig()


class RidgeAlignment:
    """A regression in the place of the autoencoders: joint vectors are item vectors.

    Args:
        head: the fitted regression.
        length: of the predicted vectors.
    """

    def __init__(self, head: RidgeHead, length: float) -> None:
        self._head, self._length = head, length

    @classmethod
    def fit(
        cls, config: RidgeAlignmentConfig, items: np.ndarray, texts: np.ndarray
    ) -> "RidgeAlignment":
        """Solve the regression.

        Args:
            config: the settings.
            items: vectors of the warm items, float32, shape (items, item width).
            texts: their text vectors, float32, shape (items, text width); items without text, which
                have zeros, are left out.

        Raises:
            ConfigError: the system cannot be solved, because l2 is too small for float32.
        """
        told = np.asarray(texts.any(axis=1))
        rng = np.random.default_rng(0)  # of the landmarks, as those of ``text_ridge``
        head = RidgeHead.fit(config.ridge, texts[told], sparse.csr_matrix(items[told]), rng)
        return cls(head, float(np.linalg.norm(items, axis=1).mean()))

    def joint(self, vectors: np.ndarray, side: Literal["item", "text"]) -> np.ndarray:
        """Item vectors as they are, or those that texts predict: float32, (rows, item width)."""
        if side == "item":
            return vectors
        found = self._head.predict(vectors)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return found * np.float32(self._length) / np.maximum(norms, 1e-12, dtype=np.float32)

    def decoded(self, joint: np.ndarray) -> np.ndarray:
        """The same vectors."""
        return joint

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        return {**self._head.state(), "length": np.array(self._length)}

    @classmethod
    def restore(
        cls, config: RidgeAlignmentConfig, state: dict[str, np.ndarray]
    ) -> "RidgeAlignment":
        """Rebuild an alignment from ``state``."""
        return cls(RidgeHead.restore(config.ridge, state), float(state["length"]))
