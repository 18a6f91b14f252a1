import numpy as np
import pytest

from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.ials import IalsConfig
from warmstart.errors import ConfigError
from warmstart.methods.text_to_vector import TextToVector
from warmstart.simulate.ridge import RidgeConfig
from warmstart.testing.worlds.checkerboard import checkerboard, world_encoder

IALS = IalsConfig(width=6, epochs=4, alpha=5, l2=3)


@pytest.fixture(scope="module")
def world():
    return checkerboard()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return world_encoder(tmp_path_factory.mktemp("lm"))


def fit(world, encoder, **settings):
    return TextToVector(backbone=IALS, **settings).fit(world.split.train, encoder=encoder)


def test_a_cold_vector_is_the_regression_of_warm_vectors_on_texts(world, encoder):
    model = fit(world, encoder, ridge=RidgeConfig(kernel="linear", l2=2.0))
    data = world.split.train
    texts, warm = encoder.encode(data.catalogue.texts), data.warm
    items = model.hybrid.backbone.vectors[1][np.flatnonzero(warm)]
    gram = texts[warm].T @ texts[warm] + 2.0 * np.eye(texts.shape[1])
    expected = texts[~warm] @ np.linalg.solve(gram, texts[warm].T @ items)
    np.testing.assert_allclose(model.hybrid.folded, expected, rtol=1e-3, atol=1e-4)


def test_the_scores_are_dot_products_with_the_users_of_the_backbone(world, encoder):
    model = fit(world, encoder)
    users, cold = world.active_users[:5], np.flatnonzero(~world.split.train.warm)
    positions = np.arange(len(cold))
    scores = model.hybrid.score_cold(users, positions)
    expected = model.hybrid.backbone.vectors[0][users] @ model.hybrid.folded.T
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_a_warm_item_is_predicted_as_if_it_were_new(world, encoder):
    """Where cold texts are few, cold scores are calibrated on warm items, each left out once."""
    model = fit(world, encoder, ridge=RidgeConfig(l2=1e-2, gamma=2.0))
    data = world.split.train
    texts, warm = encoder.encode(data.catalogue.texts), np.flatnonzero(data.warm)
    row = 5
    others = np.delete(warm, row)
    kernel = np.exp(-2.0 * ((texts[others, None] - texts[None, others]) ** 2).sum(2))
    weights = np.linalg.solve(
        kernel + 1e-2 * np.eye(len(others)), model.hybrid.backbone.vectors[1][others]
    )
    near = np.exp(-2.0 * ((texts[warm[row]] - texts[others]) ** 2).sum(1))
    head = type(model._head).fit(
        model.config.ridge, texts[warm], _sparse(model, warm), np.random.default_rng(0)
    )
    left_out = head.leave_one_out(texts[warm], _sparse(model, warm), np.array([row]))[0]
    np.testing.assert_allclose(left_out, near @ weights, rtol=1e-2, atol=1e-3)


def _sparse(model, warm):
    from scipy import sparse

    return sparse.csr_matrix(model.hybrid.backbone.vectors[1][warm])


def test_a_backbone_without_vectors_is_refused(world, encoder):
    model = TextToVector(backbone=EaseConfig(l2=5))
    with pytest.raises(ConfigError, match="backbone 'ease' has no vectors of items; allowed: bpr"):
        model.fit(world.split.train, encoder=encoder)
