"""A world with two tastes: even users like even items, odd users odd ones."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones.click import ClickData
from warmstart.backbones.click.deepfm import DeepFmConfig
from warmstart.backbones.click.din import DinConfig
from warmstart.backbones.click.logistic import LogisticCtrConfig
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.ratings import Ratings

SMALL = {"width": 8, "epochs": 12, "batch_size": 128, "learning_rate": 0.02, "id_dropout": 0.3}
ALONE = {**SMALL, "base": None, "epochs": 20, "l2": 0.02}
CONFIGS = {
    "logistic_ctr": LogisticCtrConfig(),
    "deepfm": DeepFmConfig(**SMALL, hidden=(8,)),
    "din": DinConfig(**SMALL, hidden=(8,)),
    "fm_alone": DeepFmConfig(**ALONE, hidden=()),
    "din_alone": DinConfig(**ALONE, hidden=(8,)),
}
LOVED, HATED = 0, 1  # items of which all users think alike
N_USERS, N_ITEMS, N_RATED = 80, 60, 54  # the last six items have no ratings
THRESHOLD = 4.0


@dataclass
class World:
    """Training pairs, and held-out pairs with histories that end before them."""

    train: ClickData
    ratings: Ratings
    held_out: Queries
    items: np.ndarray
    labels: np.ndarray


def likes(user, item):
    if item in (LOVED, HATED):
        return item == LOVED
    return user % 2 == item % 2


def genres():
    """Attribute 0: even, 1: odd, 2: of all items; the last two items have none."""
    table = np.zeros((N_ITEMS, 3), bool)
    table[np.arange(N_ITEMS), np.arange(N_ITEMS) % 2] = True
    table[:, 2] = True
    table[-2:] = False
    return sparse.csr_matrix(table)


def make_world(seed=0, noise=0.05, per_user=24, held_out=6, attributes=True, relabel=None):
    """Rate random items at times 0, 1, ...; the last ``held_out`` of each user are held out."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(N_USERS, dtype=np.int32), per_user)
    items = np.concatenate(
        [rng.choice(N_RATED, per_user, replace=False) for _ in range(N_USERS)]
    ).astype(np.int32)
    labels = np.array([likes(u, i) for u, i in zip(users, items, strict=True)])
    labels ^= rng.random(len(labels)) < noise
    if relabel is not None:
        labels = relabel(labels, rng)
    values = np.where(labels, 5, 2).astype(np.float32)
    times = np.tile(np.arange(per_user, dtype=np.int64), N_USERS)
    ratings = Ratings(users, items, values, times)
    training = times < per_user - held_out
    train = ClickData.from_ratings(
        ratings.where(training),
        threshold=THRESHOLD,
        n_users=N_USERS,
        n_items=N_ITEMS,
        attributes=genres() if attributes else None,
    )
    rows = np.flatnonzero(~training)
    before = [np.arange(row - times[row], row) for row in rows]
    histories = Histories.from_lists([items[events] for events in before])
    rated = Histories(histories.offsets, histories.items, ratings=values[np.concatenate(before)])
    return World(train, ratings, Queries(users[rows], rated), items[rows], labels[rows])


@pytest.fixture(scope="session")
def world():
    return make_world()


@pytest.fixture(params=sorted(CONFIGS))
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(params=sorted(set(CONFIGS) - {"logistic_ctr"}))
def network_config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="session")
def fitted_once(world):
    """Fitted models by configuration, for tests that do not change them."""
    from warmstart.backbones.click import build

    fitted = {}

    def of(config):
        key = config.model_dump_json()
        if key not in fitted:
            fitted[key] = build(config).fit(world.train, rng=np.random.default_rng(0))
        return fitted[key]

    return of
