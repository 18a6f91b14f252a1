"""A planted cycle: after item i comes item i + 1."""

import numpy as np
import pytest

from warmstart.backbones.sequence import build_sequence
from warmstart.backbones.sequence.fism import FismConfig
from warmstart.backbones.sequence.gru4rec import Gru4RecConfig
from warmstart.backbones.sequence.sasrec import SasRecConfig
from warmstart.data.histories import Histories

N_CYCLE, N_ITEMS = 20, 22  # the last two items are in no history

SMALL = {
    "width": 16,
    "epochs": 12,
    "learning_rate": 0.02,
    "batch_size": 128,
    "dropout": 0.1,
    "input_dropout": 0.0,
}
CONFIGS = {
    "sasrec": SasRecConfig(**SMALL),
    "gru4rec": Gru4RecConfig(**SMALL),
    # It must tell the next item by the set alone.
    "fism": FismConfig(**SMALL | {"width": 32, "epochs": 30}),
}


def cycle(rng, n_histories, longest=9):
    """Histories of 0 to ``longest`` - 1 events that follow the cycle."""
    starts = rng.integers(0, N_CYCLE, n_histories)
    lengths = rng.integers(0, longest, n_histories)
    return Histories.from_lists(
        [
            (start + np.arange(length)) % N_CYCLE
            for start, length in zip(starts, lengths, strict=True)
        ]
    )


def newest(histories):
    """The newest item of each history, of those that have one, and which these are."""
    rows = np.flatnonzero(histories.lengths)
    return histories.items[histories.offsets[1:][rows] - 1], rows


@pytest.fixture(scope="session")
def train():
    return cycle(np.random.default_rng(0), 150)


@pytest.fixture(scope="session")
def asked():
    """Histories of other users."""
    return cycle(np.random.default_rng(1), 60)


@pytest.fixture(params=sorted(CONFIGS))
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="session")
def fitted_once(train):
    """Fitted backbones by kind, for tests that do not change them."""
    fitted = {}

    def of(config):
        if config.kind not in fitted:
            backbone = build_sequence(config)
            fitted[config.kind] = backbone.fit(train, N_ITEMS, rng=np.random.default_rng(0))
        return fitted[config.kind]

    return of
