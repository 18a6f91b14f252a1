"""The checkerboard: even users like even items, odd users odd ones."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones import (
    BprConfig,
    EaseConfig,
    IalsConfig,
    LightGcnConfig,
    NgcfConfig,
    build,
)

CONFIGS = {
    "bpr": BprConfig(width=16, epochs=30, learning_rate=0.2, l2=0.01, negatives=4),
    "ials": IalsConfig(width=4, epochs=6, alpha=5, l2=3),
    "ease": EaseConfig(l2=5),
    "lightgcn": LightGcnConfig(width=16, epochs=15, learning_rate=0.1, negatives=16),
    "ngcf": NgcfConfig(width=16, epochs=15, learning_rate=0.1, negatives=16),
}


@dataclass
class Checkerboard:
    """40 users and 30 items, two of each without interactions, and 4 new items."""

    train: sparse.csr_matrix
    new: sparse.csr_matrix
    n_users: int = 40
    n_items: int = 30
    empty_users: tuple[int, int] = (38, 39)
    empty_items: tuple[int, int] = (28, 29)


@pytest.fixture(scope="session")
def world():
    rng = np.random.default_rng(0)
    same = np.arange(40)[:, None] % 2 == np.arange(30)[None, :] % 2
    train = (same & (rng.random((40, 30)) < 0.6)).astype(np.float32)
    train[38:] = 0
    train[:, 28:] = 0
    new = np.zeros((4, 40), np.float32)
    for item in range(4):
        new[item, rng.choice(np.arange(item % 2, 38, 2), 6, replace=False)] = 1.0
    return Checkerboard(sparse.csr_matrix(train), sparse.csr_matrix(new))


@pytest.fixture(params=sorted(CONFIGS))
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(params=sorted(set(CONFIGS) - {"ease"}))
def learned_config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="session")
def fitted_once(world):
    """Fitted backbones by kind, for tests that do not change them."""
    fitted = {}

    def of(config):
        if config.kind not in fitted:
            fitted[config.kind] = build(config).fit(world.train, rng=np.random.default_rng(0))
        return fitted[config.kind]

    return of
