"""Row numbers of interactions are checked when they come in."""

import numpy as np
import polars as pl
import pytest

from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.errors import DataError


@pytest.mark.parametrize(
    "rows",
    [[1, 0], (1, 0), np.array([1, 0], np.uint8), np.array([1.0, 0.0]), pl.Series([1, 0]), []],
)
def test_whole_numbers_of_any_type_are_row_numbers(rows):
    events = Interactions.from_arrays(rows, rows)
    assert (events.users.dtype, events.items.dtype) == (np.int32, np.int32)
    assert events.users.tolist() == list(rows)


@pytest.mark.parametrize(
    "value", [1.7, -1, 2**31, 2**40, 2**70, np.nan, np.inf, True, "1", None, [0]]
)
def test_other_values_are_no_row_numbers(value):
    for arrays in (([value], [0]), ([0], [value])):
        with pytest.raises(DataError, match=r"interactions: (users|items) must "):
            Interactions.from_arrays(*arrays)


def test_the_first_wrong_row_is_named():
    with pytest.raises(DataError, match=r"items must be row numbers, .* to 2147483647; got 0\.5"):
        Interactions.from_arrays([1, 2, 3], [1, 0.5, -3])
    with pytest.raises(DataError, match=r"users must have one axis, got shape \(2, 1\)"):
        Interactions.from_arrays([[1], [2]], [1, 2])
    with pytest.raises(DataError, match="users must be a list of numbers, got lists"):
        Interactions.from_arrays([[1], [2, 3]], [1, 2])


@pytest.mark.parametrize(
    "more",
    [
        {"items": [0, 1]},
        {"weights": np.ones(2)},
        {"times": [5, 6]},
        {"times": []},
        {"evidence": {"log_odds": np.zeros(3)}},
    ],
)
def test_arrays_of_different_lengths_are_refused(more):
    with pytest.raises(DataError, match=r"the lengths of the arrays differ: \{'users': 1"):
        Interactions.from_arrays(**{"users": [1], "items": [0], **more})


def test_rows_outside_a_matrix_or_a_data_set_are_refused():
    events = Interactions.from_arrays([0, 2], [1, 5])
    with pytest.raises(DataError, match=r"user row 2 is unknown; allowed: .* the 2 users, from 0"):
        events.matrix(2, 6)
    with pytest.raises(DataError, match=r"item row 5 is unknown; allowed: .* from 0 to 4"):
        events.matrix(3, 5)
    assert events.matrix(3, 6).nnz == 2
    items = Catalogue(Ids(["a"], "item"), ("",), None, pl.DataFrame({"t": [""]}), ("t",))
    with pytest.raises(DataError, match="data set 'toy': item row 1 is unknown"):
        Dataset("toy", Ids(["u", "v", "w"], "user"), items, events)
