"""NeighbourEvidence, compared with a loop that follows its definition."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.simulate.funnel.neighbours import NEIGHBOUR_COUNTS, NeighbourEvidence

N_USERS, N_ITEMS = 30, 50


@pytest.fixture(scope="module")
def log():
    """Interactions, and text vectors; the last ten items are cold."""
    rng = np.random.default_rng(0)
    seen = rng.random((N_USERS, N_ITEMS)) < 0.2
    seen[:, 40:] = False
    seen[0] = False  # a user without a history
    vectors = rng.standard_normal((N_ITEMS, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return seen, vectors


def by_definition(seen, vectors, vector, user, left_out):
    warm = [item for item in range(N_ITEMS) if seen[:, item].any() and item != left_out]
    history = [item for item in np.flatnonzero(seen[user]) if item != left_out]
    degree = np.maximum(seen.sum(axis=1), 1)
    inner = lambda a, b: (seen[:, a] * seen[:, b] / degree).sum()  # noqa: E731
    cosine = lambda a, b: inner(a, b) / np.sqrt(inner(a, a) * inner(b, b))  # noqa: E731
    nearest = sorted(warm, key=lambda item: -float(vectors[item] @ vector))
    found = []
    for count in NEIGHBOUR_COUNTS:
        weights = [max(float(vectors[n] @ vector), 0) ** 3 for n in nearest[:count]]
        sums = [sum(cosine(h, n) for h in history) for n in nearest[:count]]
        mean = np.dot(weights, sums) / sum(weights)
        found.append(np.log1p(10 * mean / np.sqrt(max(len(history), 1))))
    return found


@pytest.mark.parametrize("left_out", [-1, 7])
def test_evidence_follows_its_definition(log, left_out):
    seen, vectors = log
    evidence = NeighbourEvidence(sparse.csr_matrix(seen.astype(np.float32) * 2.5), vectors)
    users = np.array([3, 0, 29, 7], np.int32)
    vector = vectors[left_out if left_out >= 0 else 45]
    expected = [by_definition(seen, vectors, vector, user, left_out) for user in users]
    found = evidence.of(vector, users, left_out)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_item_left_out_is_not_evidence_for_its_own_users():
    """Two items share all their users; the third item shares none."""
    seen = np.zeros((4, 3), np.float32)
    seen[:2, :2] = seen[2:, 2] = 1
    vectors = np.eye(3, dtype=np.float32) * 0.9 + 0.1
    evidence = NeighbourEvidence(sparse.csr_matrix(seen), vectors)
    found = evidence.of(vectors[2], np.arange(4, dtype=np.int32), left_out=2)
    np.testing.assert_array_equal(found[2:], 0)  # their history is the item alone
    assert (found[:2] > 0).all()


def test_without_warm_items_the_evidence_is_zero():
    evidence = NeighbourEvidence(
        sparse.csr_matrix((3, 2), dtype=np.float32), np.eye(2, dtype=np.float32)
    )
    found = evidence.of(np.ones(2, np.float32), np.arange(3, dtype=np.int32), -1)
    np.testing.assert_array_equal(found, np.zeros((3, len(NEIGHBOUR_COUNTS)), np.float32))
