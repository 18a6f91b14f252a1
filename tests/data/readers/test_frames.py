import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from warmstart.data.readers.frames import from_frames
from warmstart.errors import DataError, DataWarning

ROWS = {"who": ["b", "a", "b"], "what": [2, 1, 1], "stars": [5, 4, 1], "when": [30, 20, 10]}
ITEMS = {"what": [1, 2], "title": ["One", "Two"], "plot": ["first", None]}
NAMES = {"user": "who", "item": "what", "rating": "stars", "time": "when", "positive_rating": 4}


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.table, dict])
def test_frames_of_every_kind_give_the_same_data(kind):
    data = from_frames(kind(ROWS), kind(ITEMS), text=["title", "plot"], **NAMES)
    assert data.user_ids.values == ["a", "b"]
    assert data.catalogue.item_ids.values == [1, 2]
    assert data.catalogue.texts == ("One. first", "Two")
    assert data.counts["ratings_below_positive"] == 1
    assert data.hash == from_frames(ROWS, ITEMS, text=["title", "plot"], **NAMES).hash


def test_pandas_keeps_ids_of_a_frame_with_another_index():
    frame = pd.DataFrame(ROWS, index=[7, 8, 9])[ROWS.keys()]
    frame = frame[frame["stars"] > 3]
    data = from_frames(frame, user="who", item="what", rating="stars", time="when")
    assert data.counts["rows"] == 2


def test_times_may_be_datetimes():
    moments = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    frame = pl.DataFrame({**ROWS, "when": moments})
    data = from_frames(
        frame, user="who", item="what", rating="stars", time="when", positive_rating=1
    )
    assert data.interactions.times is not None
    assert sorted(data.interactions.times.tolist()) == [
        int(moment.timestamp()) for moment in moments
    ]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"user": ["a", None], "item": [1, 2]}), "row 2, column 'user': got None"),
        (pd.DataFrame({"user": [1.0, None], "item": [1, 2]}), "row 2, column 'user'"),
        (pd.DataFrame({"user": [1.0, 2.5], "item": [1, 2]}), "row 2, column 'user': got 2.5"),
        (pd.DataFrame({"user": ["a", 1], "item": [1, 2]}), "row 2, column 'user': got 1; allowed"),
        ({"user": ["a"], "item": [1, 2]}, "columns differ in length: {'user': 1, 'item': 2}"),
        (pd.DataFrame([["a", 1, 2]], columns=["user", "item", "item"]), "occur twice"),
        ([("a", 1)], "got list; allowed: a pandas, polars or Arrow frame"),
        ({"user": ["a"]}, "the interactions frame: column 'item' is missing"),
    ],
)
def test_wrong_frames_are_named(frame, message):
    with pytest.raises(DataError, match=message):
        from_frames(frame)


def test_a_text_column_without_items_is_named():
    with pytest.raises(DataError, match=r"no items were given, and text column\(s\) \['title'\]"):
        from_frames({"user": ["a"], "item": ["b"]}, text=["title"])


@pytest.mark.parametrize(("dtype", "exact"), [("f2", 2**11), ("f4", 2**24), ("f8", 2**53)])
@pytest.mark.parametrize("kind", [np.asarray, pl.Series, pd.Series, pa.array])
def test_float_ids_are_read_only_where_floats_are_exact(kind, dtype, exact):
    ids = from_frames({"user": [1], "item": kind(np.array([exact - 1], dtype))})
    assert ids.catalogue.item_ids.values == [exact - 1]
    for large in (exact, -exact):
        with pytest.raises(DataError, match=f"row 2.*may stand for several ids from {exact}"):
            from_frames({"user": [1, 1], "item": kind(np.array([1, large], dtype))})


def test_pandas_is_not_imported_to_read_frames():
    import subprocess

    code = (
        "import sys, warmstart.data.readers.files, warmstart.data.sources\n"
        "from warmstart.data.readers.frames import from_frames\n"
        "from_frames({'user': ['a'], 'item': ['b']})\n"
        "assert not {'pandas', 'httpx', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("dtype", [pl.Int64, pl.String, pl.Float64, pl.Null, pl.Object])
def test_an_empty_frame_of_items_has_no_type_of_ids(dtype):
    items = pl.DataFrame({"item": pl.Series([], dtype=dtype), "title": []})
    for ids in ([1, 2], ["a", "b"]):
        with pytest.warns(DataWarning, match="are all empty"):
            data = from_frames({"user": ["u", "u"], "item": ids}, items)
        assert data.catalogue.item_ids.values == ids
