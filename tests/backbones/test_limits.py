"""Settings beyond what the machine or float32 can compute are errors that name them."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones import build
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.ials import IalsConfig
from warmstart.backbones.lightgcn import LightGcnConfig
from warmstart.backbones.limits import memory_limit
from warmstart.backbones.ngcf import NgcfConfig
from warmstart.errors import ConfigError, UnsupportedError

SMALL = {"width": 8, "epochs": 3}
TRAIN = sparse.csr_matrix((np.random.default_rng(0).random((60, 50)) < 0.15).astype(np.float32))


def fit(config):
    return build(config).fit(TRAIN, rng=np.random.default_rng(0))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("config", "words"),
    [
        *((BprConfig(learning_rate=rate, **SMALL), "lower learning_rate") for rate in (5, 1e30)),
        (BprConfig(learning_rate=1e300, **SMALL), "training diverged: .* in epoch 1"),
        (BprConfig(l2=1e10, **SMALL), "training diverged"),
        (BprConfig(temperature=1e-20, **SMALL), "training diverged"),
        (BprConfig(fold_in_alpha=1e300, **SMALL), "least squares: a divisor is 0"),
        (BprConfig(fold_in_l2=1e30, **SMALL), "backbone bpr: .* fold_in_alpha and fold_in_l2"),
        (IalsConfig(alpha=1e300, **SMALL), "least squares: a divisor is 0; .*: alpha, l2"),
        (IalsConfig(alpha=1e30, **SMALL), "training diverged: Eigenvalues"),
        (IalsConfig(alpha=1e30, solver="cg", **SMALL), "least squares: a divisor is 0"),
        (IalsConfig(l2=1e300, **SMALL), "training diverged: the loss is nan"),
        (LightGcnConfig(learning_rate=1e20, **SMALL), "least squares|training diverged"),
        (NgcfConfig(learning_rate=1e30, **SMALL), "training diverged"),
        (EaseConfig(l2=1e300), "backbone ease: .* infinite or NaN; .* values of l2"),
    ],
    ids=lambda value: "" if isinstance(value, str) else f"{value.kind}",
)
def test_extreme_settings_are_named(config, words):
    with pytest.raises(ConfigError, match=words):
        fit(config)


@pytest.mark.parametrize(
    ("kind", "width"),
    [(kind, 10**9) for kind in (BprConfig, IalsConfig, LightGcnConfig, NgcfConfig)]
    + [(IalsConfig, 10**15), (BprConfig, 10**6)],
)
def test_a_width_beyond_the_memory_is_refused_before_it_is_used(kind, width):
    message = rf"110 vectors of width {width} .* need at least [\d,.]+ GiB.*lower width"
    with pytest.raises(UnsupportedError, match=message):
        fit(kind(width=width, epochs=1))


def test_an_allocation_that_fails_is_the_same_error():
    with pytest.raises(UnsupportedError, match="width 8"), memory_limit("ials", 8, 110):
        raise MemoryError
