"""Folding interactions in: the rows that are refused, and copies of a model."""

import copy

import numpy as np
import pytest

from warmstart.backbones.ials import IalsConfig
from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.errors import DataError
from warmstart.methods.cf_only import CFOnly
from warmstart.testing.worlds.checkerboard import checkerboard


@pytest.fixture(scope="module")
def world():
    return checkerboard()


@pytest.fixture
def model(world):
    return CFOnly(backbone=IalsConfig(width=4, epochs=2)).fit(world.data)


def scores(model, items):
    return model.score(Queries.of_users(np.arange(len(model.fitted.user_ids))), items)


def test_rows_of_no_user_and_no_item_are_refused_and_nothing_changes(model):
    n_users, n_items = len(model.fitted.user_ids), len(model.fitted.catalogue)
    cold = np.flatnonzero(~model.fitted.warm)
    for users, items, words in (
        ([n_users], cold[:1], f"user row {n_users} is unknown; .* {n_users} users, from 0 to "),
        ([0], [n_items], f"item row {n_items} is unknown; .* {n_items} items, from 0 to "),
    ):
        with pytest.raises(DataError, match=f"cf_only: fold_in: {words}"):
            model.fold_in(Interactions.from_arrays(users, items))
    for wrong in (-1, 2**40):
        with pytest.raises(DataError, match=f"items must be row numbers, .* got {wrong}"):
            model.fold_in(Interactions.from_arrays([0], [wrong]))
    handmade = Interactions.from_arrays([0], [0])
    handmade.items[:] = -1  # as the row of an unknown id
    with pytest.raises(DataError, match="cf_only: fold_in: item row -1 is unknown"):
        model.fold_in(handmade)
    with pytest.raises(DataError, match="item row 0 is warm"):
        model.fold_in(Interactions.from_arrays([0], np.flatnonzero(model.fitted.warm)[:1]))
    assert np.isnan(scores(model, cold)).all()


def test_folding_into_a_copy_leaves_the_original_as_it_is(model):
    cold = np.flatnonzero(~model.fitted.warm)[:2]
    model.fold_in(Interactions.from_arrays([0, 1], cold[[0, 0]]))
    before = scores(model, cold)
    other = copy.copy(model)
    other.fold_in(Interactions.from_arrays([2, 3, 4, 5], np.repeat(cold, 2)))
    np.testing.assert_array_equal(scores(model, cold), before)
    assert np.isfinite(scores(other, cold)).all()
    assert (scores(other, cold[:1]) != before[:, :1]).any()
