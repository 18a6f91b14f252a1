import numpy as np
import pytest

from tests.lm.conftest import causal_folder, encoder_folder, folder, lm  # noqa: F401
from warmstart.testing.world import checkerboard


@pytest.fixture(scope="session")
def world():
    return checkerboard()


@pytest.fixture(scope="session")
def vectors(world):
    """Unit vectors of all items that say their parity, noisily; float32, shape (n_items, 12)."""
    rng = np.random.default_rng(0)
    found = rng.normal(size=(world.data.n_items, 12))
    found[:, 0] += np.where(world.item_parity == 0, 2, -2)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)
