import numpy as np
import pytest

from tests.lm.conftest import causal_folder, encoder_folder, folder, lm  # noqa: F401
from warmstart.testing.worlds.checkerboard import checkerboard


@pytest.fixture(scope="session")
def world():
    return checkerboard()


@pytest.fixture(scope="session")
def vectors(world):
    """Unit vectors whose first entry encodes the item's parity, with noise; (n_items, 12)."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(world.data.n_items, 12))
    vectors[:, 0] += np.where(world.item_parity == 0, 2, -2)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)
