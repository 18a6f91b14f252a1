"""Methods that keep users as items of their histories score as with vectors if none is cut."""

import numpy as np
import pytest

from warmstart.data.queries import Queries
from warmstart.methods import build, load_model
from warmstart.testing.small_settings import METHOD_SETTINGS
from warmstart.testing.worlds.checkerboard import checkerboard, world_encoder

RIDGE = {"l2": 0.3, "gamma": 2.0, "rank": 12}
SETTINGS = {
    "text_ridge": lambda ridge: ridge,
    "ease_text": lambda ridge: {"ease": {"l2": 5}, "ridge": ridge},
    "coldllm": lambda ridge: {
        "backbone": METHOD_SETTINGS["coldllm"]["backbone"],
        "filter": {"signals": "content", "ridge": ridge},
        "judge": None,
    },
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return world_encoder(tmp_path_factory.mktemp("lm"))


@pytest.mark.parametrize("name", SETTINGS)
def test_whole_histories_score_as_vectors(name, encoder, tmp_path):
    world = checkerboard()
    by_vectors, by_items = (
        build(name, SETTINGS[name]({**RIDGE, **own})).fit(world.split.train, encoder=encoder)
        for own in ({}, {"items_per_user": 1000})
    )
    users = np.arange(world.data.n_users, dtype=np.int32)
    items = np.arange(world.data.n_items, dtype=np.int32)
    scores, expected = (m.score(Queries.of_users(users), items) for m in (by_items, by_vectors))
    np.testing.assert_allclose(scores, expected, atol=2e-3)
    by_items.save(tmp_path / "model")
    again = load_model(tmp_path / "model", encoder=encoder)
    np.testing.assert_array_equal(again.score(Queries.of_users(users), items), scores)
