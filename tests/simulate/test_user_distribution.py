"""The distribution over users, and interactions simulated from it."""

import numpy as np
import pytest
import torch

from warmstart.errors import ConfigError
from warmstart.simulate.top_users import PlattConfig, likely_users
from warmstart.simulate.user_distribution import UserDistribution
from warmstart.simulate.user_tokens import UserTokens

N_USERS, WIDTH, LM_WIDTH = 30, 8, 12


def _distribution(rng):
    table = rng.normal(size=(N_USERS, WIDTH)).astype(np.float32)
    degrees = rng.integers(1, 50, N_USERS)
    tokens = UserTokens(table, LM_WIDTH, rng, temperature=0.5, degrees=degrees)
    return UserDistribution(tokens, None, 1.0)


def _vectors(rng, n=5):
    vectors = rng.normal(size=(n, LM_WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_vector_added_to_all_tokens_changes_no_score():
    rng = np.random.default_rng(0)
    distribution, vectors = _distribution(rng), _vectors(rng)
    before = distribution.user_scores(vectors, vectors)
    with torch.no_grad():
        distribution.tokens.table += torch.from_numpy(rng.normal(size=WIDTH).astype(np.float32))
    after = distribution.user_scores(vectors, vectors)
    np.testing.assert_allclose(before, after, atol=1e-4)


def test_log_probabilities_are_those_of_the_tokens():
    rng = np.random.default_rng(1)
    distribution, vectors = _distribution(rng), _vectors(rng)
    ours = distribution.log_probabilities(distribution.user_scores(vectors, vectors))
    with torch.inference_mode():
        queries = distribution.tokens.queries(torch.from_numpy(vectors))
        expected = torch.log_softmax(distribution.tokens.logits(queries), 1).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    np.testing.assert_allclose(np.exp(ours).sum(1), 1, atol=1e-4)


def test_scores_of_some_users_are_a_slice_of_all_scores():
    rng = np.random.default_rng(2)
    distribution, vectors = _distribution(rng), _vectors(rng)
    users = np.array([3, 17, 4], np.int32)
    some = distribution.user_scores(vectors, vectors, users)
    every = distribution.user_scores(vectors, vectors)
    np.testing.assert_allclose(some, every[:, users], atol=1e-5)


def test_likely_users_are_the_top_k_weighted_by_probability():
    probabilities = np.array([[0.5, 0.1, 0.25, 0.15], [0.01, 0.01, 0.08, 0.9]])
    events = likely_users(
        np.log(probabilities).astype(np.float32),
        2,
        audience_size=2.0,
        platt=PlattConfig(),
        provenance="test",
    )
    assert events.users.tolist() == [0, 2, 3, 2]
    assert events.items.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(
        events.weights, [1 / 2, 0.5 / 1.5, 1.8 / 2.8, 0.16 / 1.16], atol=1e-6
    )
    assert events.sources == ("test",)


def test_sampled_users_follow_the_distribution():
    probabilities = np.array([[0.7, 0.2, 0.1]])
    sampled = likely_users(
        np.log(np.repeat(probabilities, 4000, axis=0)).astype(np.float32),
        1,
        audience_size=1.0,
        platt=PlattConfig(),
        provenance="test",
        rng=np.random.default_rng(0),
    )
    frequencies = np.bincount(sampled.users, minlength=3) / 4000
    np.testing.assert_allclose(frequencies, probabilities[0], atol=0.03)


def test_k_above_the_number_of_users_is_an_error():
    with pytest.raises(ConfigError, match=r"within 1\.\.3"):
        likely_users(
            np.zeros((1, 3), np.float32),
            4,
            audience_size=1.0,
            platt=PlattConfig(),
            provenance="test",
        )
