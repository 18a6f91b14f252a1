"""Co-mentions, similar requests, stand-ins, and the regression from queries to texts."""

import numpy as np
import pytest

from warmstart.conversation.co_mention import CoMentionConfig, fit_co_mentions
from warmstart.conversation.query_regression import QueryRegressionConfig, fit_query_regression
from warmstart.conversation.similar_requests import SimilarRequests, SimilarRequestsConfig
from warmstart.conversation.stand_ins import nearest_warm, of_catalogue
from warmstart.data.histories import Histories

DIALOGUES = [[0, 1], [0, 1], [0, 2], [3, 4], [3, 4], [3]]
VECTORS = np.eye(6, dtype=np.float32)
VECTORS[5] = [0.9, 0, 0, 0, 0, np.sqrt(1 - 0.81)]  # item 5 sounds like item 0


@pytest.fixture
def matrix():
    return Histories.from_lists(DIALOGUES).matrix(6)


def test_co_mentions_are_smoothed_counts(matrix):
    found = fit_co_mentions(matrix, None, CoMentionConfig(smoothing=2))
    popularity = np.array([3, 2, 1, 3, 2, 0]) / 11
    counts = np.array([0, 2, 1, 0, 0, 0])  # dialogues with item 0
    expected = np.log(np.maximum((counts + 2 * popularity) / (3 + 2), 1e-9))
    scores = found.score(Histories.from_lists([[0], []]))
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
    np.testing.assert_allclose(scores[1], np.log(np.maximum(popularity, 1e-9)), rtol=1e-5)


def test_a_history_is_the_mean_of_its_items(matrix):
    found = fit_co_mentions(matrix, None, CoMentionConfig(smoothing=2))
    one, other, both = np.exp(found.score(Histories.from_lists([[0], [3], [3, 0]])))
    np.testing.assert_allclose(both, (one + other) / 2, rtol=1e-4)


def test_similar_texts_lend_counts(matrix):
    """Item 5 was never mentioned; what goes with item 0 goes with it too."""
    lent, own = (
        fit_co_mentions(matrix, VECTORS, CoMentionConfig(text_weight=weight, stand_ins=1))
        for weight in (1.0, 0.0)
    )
    history = Histories.from_lists([[5]])
    assert lent.score(history)[0, 1] > lent.score(history)[0, 4]
    np.testing.assert_allclose(own.score(history), own.score(Histories.from_lists([[]])), rtol=1e-5)


def test_items_added_after_the_fit_are_not_counted(matrix):
    found = fit_co_mentions(matrix, None, CoMentionConfig())
    np.testing.assert_array_equal(
        found.score(Histories.from_lists([[0, 9]])), found.score(Histories.from_lists([[0]]))
    )


def test_similar_requests_vote_by_similarity():
    config = SimilarRequestsConfig(neighbours=2, temperature=0.1, smoothing=1e-6)
    requests = SimilarRequests(VECTORS[:4], np.array([3, 2, 1, 1], np.int32), 5, config)
    query = np.array([[0.8, 0.6, 0, 0, 0, 0]], np.float32)
    weights = np.exp([8, 6]) / np.exp([8, 6]).sum()
    scores = np.exp(requests.score(query)[0])
    np.testing.assert_allclose(scores[[3, 2]], weights, rtol=1e-3)
    assert scores[1] < 1e-5, "only the two nearest vote"
    assert scores[0] < scores[1], "popularity breaks the tie of those without a vote"


def test_stand_ins_of_cold_items():
    warm = np.array([1, 1, 1, 1, 1, 0], bool)
    found = of_catalogue(VECTORS, warm, 2)
    scores = np.arange(6, dtype=np.float32)[None] * 10
    means = found.mean(scores)[0]
    np.testing.assert_allclose(means[:5], scores[0, :5])
    assert found.items[5, 0] == 0
    assert means[5] < 5, "item 0 speaks for item 5"
    nothing = nearest_warm(np.zeros((1, 6), np.float32), VECTORS, warm, 2)
    assert nothing.mean(scores)[0, 0] == 0
    assert nearest_warm(VECTORS[:0], VECTORS, warm, 2).mean(scores).shape == (1, 0)
    own = nearest_warm(VECTORS, VECTORS, warm, 4, own=True)
    assert not (own.items == np.arange(6)[:, None]).any()


def test_regression_learns_what_is_recommended():
    """Whoever says x is recommended items of another direction; similarity would miss it."""
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    asked = rng.normal(size=(200, 8)).astype(np.float32)
    items = asked @ turned
    nothing = np.zeros((200, 0), np.float32)
    fitted = fit_query_regression(
        (asked, 5 * rng.normal(size=(200, 3)), nothing), items, QueryRegressionConfig(l2=0.1)
    )
    new = rng.normal(size=(20, 8)).astype(np.float32)
    found = fitted.queries(new, np.zeros((20, 3), np.float32), np.zeros((20, 0), np.float32))
    wanted = new @ turned
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((found * wanted).sum(axis=1) / lengths).min() > 0.95
