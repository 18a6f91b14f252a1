"""The ability to predict labels: arguments, and scores made of probabilities."""

import numpy as np
import pytest

from warmstart import abilities
from warmstart.abilities import Predicts
from warmstart.core import Recommender, Traits
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.errors import DataError, NotFittedError, UnsupportedError
from warmstart.methods.popular import PopularConfig
from warmstart.testing.worlds.checkerboard import checkerboard


class Oldest(Recommender, Predicts):
    """Likes item i of n with probability i / n, plus one half if it is the user's oldest item."""

    name, config_type = "oldest", PopularConfig
    traits = Traits(
        reads=frozenset({"ratings"}), cold_items="prior", answers=frozenset({"history"})
    )

    def _fit(self, data, context):
        self._rates = np.arange(data.n_items, dtype=np.float32) / (2 * data.n_items)

    def _predict(self, queries, items):
        oldest = queries.histories.items[queries.histories.offsets[:-1]]
        return self._rates[items] + np.float32(0.5) * (oldest == items)

    def _score(self, queries, items):
        return self._score_by_probability(queries, items)

    def _state(self):
        return {}

    def _restore(self, state, lm): ...


@pytest.fixture
def model():
    return Oldest().fit(checkerboard().data)


QUERIES = Queries.of_histories(Histories.from_lists([[3, 1], [0], [2, 3]]))


def test_a_pair_gets_its_own_probability(model):
    found = model.predict_proba(QUERIES, np.array([3, 1, 2]))
    rates = np.arange(4) / (2 * len(model.fitted.catalogue))
    np.testing.assert_allclose(found, [0.5 + rates[3], rates[1], 0.5 + rates[2]], rtol=1e-6)


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_scores_are_probabilities_in_blocks_of_any_size(model, at_once, monkeypatch):
    monkeypatch.setattr(abilities, "_PAIRS_AT_ONCE", at_once)
    items = np.array([3, 0, 1, 2], np.int32)
    expected = [model.predict_proba(QUERIES.take(np.repeat(query, 4)), items) for query in range(3)]
    np.testing.assert_array_equal(model.score(QUERIES, items), expected)
    assert model.score(QUERIES, items[:0]).shape == (3, 0)
    assert model.score(QUERIES.take(np.arange(0)), items).shape == (0, 4)


def test_wrong_arguments_are_named(model):
    for items in (np.arange(2), np.zeros((3, 1), int), 3):
        with pytest.raises(DataError, match="oldest: predict_proba needs one item for each query"):
            model.predict_proba(QUERIES, items)
    with pytest.raises(UnsupportedError, match="oldest cannot answer a query by text"):
        model.predict_proba(Queries.of_texts(["even"]), np.arange(1))
    with pytest.raises(NotFittedError, match="oldest: call fit"):
        Oldest().predict_proba(QUERIES, np.arange(3))
