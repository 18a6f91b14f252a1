"""item_knn by hand: similarities, decay and the choice of the decay on validation."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse

import warmstart as ws
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.errors import DataError
from warmstart.methods.item_knn import DECAYS, ItemKNN, ItemKNNConfig, decayed, nearest_items
from warmstart.testing.worlds.checkerboard import checkerboard

MATRIX = sparse.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 0]], "f4"))


def test_similarities_by_hand():
    found = nearest_items(MATRIX, ItemKNNConfig()).toarray()
    both = np.array([[0, 2, 1, 0], [2, 0, 2, 0], [1, 2, 0, 0], [0, 0, 0, 0]])
    counts = np.array([3, 3, 2, 1])
    np.testing.assert_allclose(found, both / np.sqrt(np.outer(counts, counts)), rtol=1e-6)
    shrunk = nearest_items(MATRIX, ItemKNNConfig(shrinkage=2)).toarray()
    np.testing.assert_allclose(shrunk, both / (np.sqrt(np.outer(counts, counts)) + 2), rtol=1e-6)


def test_only_the_nearest_items_of_each_item_are_kept():
    found = nearest_items(MATRIX, ItemKNNConfig(neighbours=1)).toarray()
    assert (found > 0).sum(axis=0).tolist() == [1, 1, 1, 0]
    assert found.argmax(axis=0).tolist()[:3] == [1, 2, 1]


def test_older_items_count_less():
    histories = Histories.from_lists([[2, 0, 1], [3], []])
    found = decayed(histories, 4, 0.5).toarray()
    np.testing.assert_allclose(found, [[0.5, 1, 0.25, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    assert histories.items.tolist() == [2, 0, 1, 3]  # not sorted in place


def test_a_user_gets_what_the_same_history_gets():
    world = checkerboard()
    model = ItemKNN(decay=0.7).fit(world.data)
    users, items = world.active_users, np.flatnonzero(world.data.warm).astype(np.int32)
    by_history = Queries.of_histories(world.data.histories.take(users))
    np.testing.assert_array_equal(
        model.score(Queries.of_users(users), items), model.score(by_history, items)
    )


def test_validation_chooses_the_decay():
    """Items come in triples; a user begins many, and goes on with the last one begun."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(300):
        whole, *begun, last = (3 * rng.permutation(12)[:7]).tolist()
        items = [whole, whole + 1, whole + 2, *begun, last, last + 1, last + 2]
        rows += [(f"u{user}", f"i{item}", at) for at, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user", "item", "position"], orient="row")
    split = ws.split(ws.from_frames(frame, position="position"), "next-item")
    chosen = ItemKNN().fit(split.train, valid=split.validation()).chosen
    assert chosen.decay == min(DECAYS)
    assert ItemKNN(decay=0.9).fit(split.train).chosen.decay == 0.9


def test_a_repeated_item_counts_at_its_newest_place():
    once, repeated = Histories.from_lists([[0, 1, 2]]), Histories.from_lists([[2, 2, 0, 1, 1, 2]])
    found = decayed(repeated, 4, 0.5).toarray()
    np.testing.assert_allclose(found, [[0.125, 0.5, 1, 0]])
    np.testing.assert_allclose(decayed(repeated, 4, 1.0).toarray(), decayed(once, 4, 1.0).toarray())


def test_a_history_of_new_items_alone_says_nothing():
    data = checkerboard().data
    model = ItemKNN().fit(data)
    model.add_items({"item": ["new"], "title": ["x"], "text": ["x"]})
    known = data.catalogue.item_ids.values[0]
    with pytest.raises(
        DataError, match="without an item that the method knows, by position, the first"
    ):
        model.recommend(histories=[[known], ["new"]], k=3)
    popular = model.recommend(histories=[["new"]], k=3, on_unknown="popular")
    counts = np.bincount(data.interactions.items, minlength=data.n_items)
    assert popular["score"].to_list() == np.sort(counts)[::-1][:3].tolist()
    mixed = model.recommend(histories=[[known, "new"]], k=3)
    assert mixed["item"].to_list() == model.recommend(histories=[[known]], k=3)["item"].to_list()
