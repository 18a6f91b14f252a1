import numpy as np
import pytest

from warmstart.conversation.gate import FEATURES, GateConfig, features_of, fit_gate
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries

N, ITEMS = 300, 30


@pytest.fixture
def parts():
    """Scores of two parts: the first tells the target, the second is noise; the target is first."""
    scores = np.random.default_rng(0).normal(size=(N, ITEMS, 2)).astype(np.float32)
    scores[:, 0, 0] += 2
    return scores


def hits(gate, scores, features):
    total = np.einsum("qip,qp->qi", scores, gate.weights(features))
    return (total.argmax(axis=1) == 0).mean()


def no_features(n=N):
    return np.zeros((n, len(FEATURES)), np.float32)


@pytest.mark.parametrize("kind", ["constant", "query"])
def test_the_part_that_tells_more_weighs_more(parts, kind):
    gate = fit_gate(("told", "noise"), parts, no_features(), GateConfig(kind=kind))
    told, noise = gate.weights(no_features(1))[0]
    assert told > 2 * noise
    equal = fit_gate(("told", "noise"), parts, no_features(), GateConfig(kind="equal"))
    assert hits(gate, parts, no_features()) > hits(equal, parts, no_features()) + 0.05


def test_weights_follow_the_query(parts):
    """Each part tells the target of one half of the queries, and a feature says of which."""
    features = no_features()
    features[N // 2 :, 0] = 1
    parts[N // 2 :, 0] = parts[N // 2 :, 0, ::-1]
    by_query, constant = (
        fit_gate(("a", "b"), parts, features, GateConfig(kind=kind))
        for kind in ("query", "constant")
    )
    assert hits(by_query, parts, features) > hits(constant, parts, features) + 0.05
    first, second = by_query.weights(features)[[0, -1]]
    assert first[0] > first[1]
    assert second[1] > second[0]


def test_scale_of_a_part_does_not_matter(parts):
    scaled = parts * np.array([1, 1000], np.float32)
    one, other = (
        fit_gate(("a", "b"), scores, no_features(), GateConfig()) for scores in (parts, scaled)
    )
    np.testing.assert_allclose(
        one.weights(no_features(1)) / [[1, 1000]], other.weights(no_features(1)), rtol=1e-3
    )


def test_parts_that_are_left_out_or_say_nothing_weigh_nothing(parts):
    gate = fit_gate(("a", "b"), parts, no_features(), GateConfig(), left_out=["a"])
    assert gate.weights(no_features(1))[0, 0] == 0
    parts[:, :, 1] = 7
    assert (
        fit_gate(("a", "b"), parts, no_features(), GateConfig()).weights(no_features(1))[0, 1] == 0
    )


def test_hidden_candidates_do_not_count(parts):
    """A mentioned item with the highest score of the good part is no reason to distrust it."""
    parts[:, 5, 0] = -np.inf
    parts[:, 5, 1] = -np.inf
    gate = fit_gate(("told", "noise"), parts, no_features(), GateConfig(kind="query"))
    assert np.isfinite(gate.weights(no_features(1))).all()
    assert gate.weights(no_features(1))[0, 0] > gate.weights(no_features(1))[0, 1]


def test_no_requests_give_equal_weights():
    gate = fit_gate(("a", "b"), np.zeros((0, 4, 2), np.float32), no_features(0), GateConfig())
    np.testing.assert_array_equal(gate.weights(no_features(1)), [[1, 1]])


def test_features():
    queries = Queries.of_texts(
        ["User: a\nSystem: b\nUser: c", ""], Histories.from_lists([[1, 2], []])
    )
    np.testing.assert_allclose(features_of(queries), [[np.log(3), np.log(3)], [0, 0]], rtol=1e-6)
