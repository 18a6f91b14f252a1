import numpy as np
import pytest
from scipy import sparse

from warmstart.conversation.bias import BiasConfig, fit_bias, recency

COUNTS = np.array([40, 20, 10, 5, 2, 1])
GENRES = sparse.csr_matrix(np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], [0, 0]], np.float32))
NO_GENRES = sparse.csr_matrix((6, 0), dtype=np.float32)
EXACT = {"item_penalty": 0, "genre_penalty": 0, "steps": 600}


def fitted(scores, targets, genres=NO_GENRES, weights=None, **settings):
    """A bias learned on scores, float32, shape (requests, items), of one part."""
    weights = np.ones(len(targets), np.float32) if weights is None else weights
    warm = np.bincount(targets, minlength=6) > 0
    return fit_bias(
        lambda rows: [scores[rows]], targets, weights, warm, genres,
        BiasConfig(**settings), np.random.default_rng(0),
    )  # fmt: skip


def additive(bias, genres=NO_GENRES):
    return (bias.own + bias.of_genres(genres))[:, 0]


@pytest.fixture
def targets():
    return np.repeat(np.arange(6), COUNTS).astype(np.int32)


def test_on_equal_scores_the_bias_is_the_log_popularity(targets):
    found = additive(fitted(np.zeros((len(targets), 6), np.float32), targets, **EXACT))
    np.testing.assert_allclose(
        found - found.mean(), np.log(COUNTS) - np.log(COUNTS).mean(), atol=1e-2
    )


def test_the_bias_makes_the_model_recommend_as_often_as_the_data(targets):
    scores = np.random.default_rng(1).normal(0, 2, (len(targets), 6)).astype(np.float32)
    bias = fitted(scores, targets, **EXACT)
    logits = bias.temperatures[0] * scores + additive(bias)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares.mean(axis=0), COUNTS / COUNTS.sum(), atol=5e-3)


def test_an_item_without_requests_has_what_its_genre_shares(targets):
    shown = np.repeat([0, 1, 2], [30, 30, 2]).astype(np.int32)
    genres = sparse.csr_matrix(np.array([[1, 0]] * 2 + [[0, 1]] * 2 + [[1, 0], [0, 1]], np.float32))
    bias = fitted(np.zeros((62, 6), np.float32), shown, genres, item_penalty=10, steps=300)
    of_new = bias.of_genres(genres)[:, 0]
    assert of_new[4] == of_new[0] > of_new[5] == of_new[3]
    assert bias.of_genres(sparse.csr_matrix((1, 2), dtype=np.float32))[0, 0] == 0


def test_a_penalty_pulls_the_multiplier_to_one(targets):
    scores = np.random.default_rng(2).normal(size=(len(targets), 6)).astype(np.float32)
    free, pulled = (
        fitted(scores, targets, kind="multiplicative", item_penalty=penalty, steps=200).own[:, 1]
        for penalty in (0, 1e4)
    )
    assert np.abs(pulled).max() < 0.05 < np.abs(free).max()
    assert not fitted(scores, targets, kind="multiplicative", steps=20).own[:, 0].any()
    absent = fitted(scores, targets, kind="absent", steps=20)
    assert not absent.own.any()


def test_the_temperature_falls_where_scores_say_nothing(targets):
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(len(targets), 6)).astype(np.float32)
    told = noise.copy()
    told[np.arange(len(targets)), targets] += 3
    settings = {"kind": "absent", "steps": 300}
    assert fitted(noise, targets, **settings).temperatures[0] < 0.3
    assert fitted(told, targets, **settings).temperatures[0] > 1


def test_old_dialogues_count_less():
    np.testing.assert_allclose(recency(np.array([0, 10, 20]), 10), [0.25, 0.5, 1])
    np.testing.assert_array_equal(recency(np.array([0, 10]), None), [1, 1])
    old_then_new = np.repeat([0, 1], [50, 50]).astype(np.int32)
    weights = recency(np.arange(100), 5)
    found = additive(fitted(np.zeros((100, 6), np.float32), old_then_new, weights=weights))
    assert found[1] > found[0] + 1
