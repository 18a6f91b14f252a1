"""Lists under control: what a method that makes them in its own way is given, and what it gives."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.core import Recommender, Traits
from warmstart.data.control import Control
from warmstart.data.queries import Queries
from warmstart.errors import ConfigError, DataError, DataWarning
from warmstart.methods.popular import Popular, PopularConfig
from warmstart.testing.worlds.checkerboard import checkerboard
from warmstart.testing.worlds.items import GENRES


class FirstRows(Recommender):
    """Scores by row; lists the items with the lowest rows, and records what it is given."""

    name, config_type = "first_rows", PopularConfig
    traits = Traits(reads=frozenset({"interactions"}), cold_items="prior", personal=False)

    def _fit(self, data, context):
        self.given = []

    def _score_users(self, users, items):
        scores = np.tile(items.astype(np.float32), (len(users), 1))
        scores[:, items == 7] = np.nan
        return scores

    def _controlled_list(self, query, items, scores, k):
        self.given.append((query.users.tolist(), items.tolist(), scores.tolist()))
        if query.controls[0].calibrate:
            raise DataError("no such list")
        return np.argsort(items)[:k]

    def _state(self):
        return {}

    def _restore(self, state, lm): ...


@pytest.fixture
def model():
    return FirstRows().fit(checkerboard().data)


def asking(*users, **wish):
    return Queries.of_users(users).with_control(Control(**wish))


def test_a_method_chooses_among_the_items_that_may_be_listed(model):
    candidates = np.array([9, 7, 4, 5], np.int32)
    masked = sparse.csr_matrix(np.array([[0, 0, 1, 0], [0, 0, 0, 0]], bool))
    positions, best = model.top_items(asking(3, 6, n_genres=1), candidates, 3, masked=masked)
    assert model.given == [([3], [9, 5], [9, 5]), ([6], [9, 4, 5], [9, 4, 5])]
    assert positions.tolist() == [[3, 0, -1], [2, 3, 0]]
    np.testing.assert_array_equal(best, [[5, 9, np.nan], [4, 5, 9]])


def test_candidates_may_be_those_of_each_query(model):
    own = np.array([[9, 4], [5, 7]], np.int32)
    positions, best = model.top_items(asking(3, 6, diversity=0.5), own, 1)
    assert model.given == [([3], [9, 4], [9, 4]), ([6], [5], [5])]
    assert positions.tolist() == [[1], [0]]
    assert best.tolist() == [[4], [5]]


def test_an_impossible_list_is_empty_and_the_warning_says_why(model):
    queries = asking(3, calibrate=True)
    with pytest.warns(DataWarning, match="1 of 1 lists cannot be made as asked.*: no such list"):
        positions, best = model.top_items(queries, np.arange(4, dtype=np.int32), 2)
    assert positions.tolist() == [[-1, -1]]
    assert np.isnan(best).all()


def test_what_no_list_can_have_is_refused_before_any_list_is_made(model):
    for wish, message in (
        ({"genres": ("Western",)}, f"unknown genres .'Western'.; allowed: {', '.join(GENRES)}"),
        ({"n_genres": 5}, "n_genres = 5, but the items have 4 genres; allowed: 1 to 4"),
    ):
        with pytest.raises(ConfigError, match=message):
            model.top_items(asking(3, **wish), np.arange(4, dtype=np.int32), 2)
    assert model.given == []


def test_items_without_genres_are_named(model):
    catalogue = model.fitted.catalogue
    object.__setattr__(catalogue, "columns", catalogue.columns.drop("genres"))
    with pytest.raises(DataError, match="no column genres, categories or tags"):
        model.top_items(asking(3, n_genres=1), np.arange(4, dtype=np.int32), 2)


def test_the_default_counts_first_genres_only_if_asked():
    board = checkerboard()
    model, users = Popular().fit(board.data), board.active_users[:5]
    items = np.arange(board.data.n_items, dtype=np.int32)
    positions, _ = model.top_items(asking(*users, n_genres=1, first_genre_only=True), items, 4)
    assert all(len(set(board.item_parity[row])) == 1 for row in positions)
    attribute = board.data.catalogue.attribute("genres")
    assert (attribute.matrix[positions.ravel()].sum(axis=1) > 1).any()
