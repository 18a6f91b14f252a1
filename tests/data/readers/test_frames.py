import json
import re
import sys
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import warmstart as ws
from warmstart.data.readers.dataset_config import DatasetConfig
from warmstart.data.readers.files import read_dataset, write_folder
from warmstart.data.readers.frames import from_frames
from warmstart.errors import ConfigError, DataError, DataWarning

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


# -- values within values --

CLICKS = {"user": ["u"], "item": ["a"]}


def title(value):
    return from_frames(CLICKS, {"item": ["a"], "title": [value]}).catalogue.texts[0]


def test_sets_within_mappings_are_sorted_too():
    letters = list("abcdefghij")
    assert json.loads(title({"colours": set(letters)})) == {"colours": letters}
    assert title([set(letters)]) == ", ".join(letters)
    frame = pd.DataFrame({"item": ["a"], "title": [[set(letters)]]})
    assert from_frames(CLICKS, frame).catalogue.texts == (", ".join(letters),)


def test_a_set_of_ids_is_sorted():
    letters = list("abcdefghij")
    model = ws.Popular().fit(from_frames({"user": letters, "item": letters}))
    assert model.recommend(set(letters), 1)["user"].to_list() == letters
    assert model.recommend(["a"], 3, items=frozenset("cb"))["item"].to_list() == ["b", "c"]


def test_columns_of_sets_are_refused():
    with pytest.raises(DataError, match=r"column 'user' must be a list, got \{1, 2\}; a set has"):
        from_frames({"user": {1, 2}, "item": [1, 2]})
    with pytest.raises(DataError, match=r"text must be a list, got .* a set has no order"):
        from_frames(CLICKS, {"item": ["a"], "title": ["A"]}, text={"title"})


def test_values_that_contain_themselves_are_named():
    ring, circle = [], {}
    ring.append(ring)
    circle["a"] = [circle]
    for value in (ring, circle):
        with pytest.raises(DataError, match="at most 20 levels, none within itself"):
            title(value)
        with pytest.raises(DataError, match="row 1, column 'user'"):
            from_frames({"user": [value], "item": ["a"]})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (deque(["a", "b"]), "a, b"),
        (pd.Series(["a", None]), "a"),
        (pa.array(["a", "b"]), "a, b"),
        (pl.Series([1, 2]), "1, 2"),
        (np.array("a"), "a"),
        (np.array(["2024-05-31"], "M8[ns]"), "2024-05-31 00:00:00"),
        ({1: np.int64(2), "n": float("nan"), ("x",): (3,)}, '{"1": 2, "n": null, "(\'x\',)": [3]}'),
        (bytearray(b"caf\xc3\xa9"), "café"),
        (Decimal("1e50"), "1" + "0" * 50),
    ],
)
def test_values_of_other_types_are_read_by_what_they_contain(value, text):
    assert title(value) == text


def test_mappings_of_a_pandas_column_keep_their_own_keys():
    clicks = {"user": ["u", "u"], "item": ["a", "b"]}
    items = {"item": ["a", "b"], "title": [{"x": 1}, {"y": 2}]}
    texts = from_frames(clicks, items).catalogue.texts
    assert texts == ('{"x": 1}', '{"y": 2}')
    assert from_frames(clicks, pd.DataFrame(items)).catalogue.texts == texts


# -- a text that looks like a number --


def test_a_text_does_not_depend_on_the_texts_beside_it(tmp_path):
    for others in ([], ["Web"], ["3.0"], ["4"]):
        ids = [f"i{n}" for n in range(1 + len(others))]
        items = {"item": ids, "title": ["2.0", *others]}
        clicks = {"user": ["u"] * len(ids), "item": ids}
        assert from_frames(clicks, items).catalogue.texts[0] == "2.0"
        pl.DataFrame(clicks).write_csv(tmp_path / "interactions.csv")
        pl.DataFrame(items).write_csv(tmp_path / "items.csv")
        assert read_dataset(tmp_path).catalogue.texts[0] == "2"


# -- positions --


@pytest.mark.parametrize("form", [list, lambda values: [str(value) for value in values], pl.Series])
@pytest.mark.parametrize("first", [2**53, -(2**53) - 1, 2**63 - 2])
def test_positions_keep_all_64_bits(form, first):
    rows = {"user": [1, 1], "item": ["a", "b"], "position": form([first + 1, first])}
    data = from_frames(rows, position="position")
    assert data.catalogue.item_ids.take(data.interactions.items) == ["b", "a"]
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [first, first + 1]


@pytest.mark.parametrize(
    ("value", "position"),
    [("+4", 4), ("2e1", 20), ("7.0", 7), ("7.", 7), (True, 1), (Decimal("3.0"), 3), (5.0, 5)],
)
def test_positions_may_be_written_as_other_numbers_are(value, position):
    data = from_frames({**CLICKS, "position": [value]}, position="position")
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [position]


@pytest.mark.parametrize("value", [1e19, -1e300, 2**63, "1e19", 0.5, "9.5", float(2**53), 2**70])
def test_positions_beyond_64_bits_are_named(value):
    with pytest.raises(DataError, match=r"row 2, column 'position'.*a whole number of 64 bits"):
        from_frames(
            {"user": [1, 1], "item": ["a", "b"], "position": [type(value)(1), value]},
            position="position",
        )


# -- ids and dates that no column can hold --


@pytest.mark.parametrize("large", [2**70, -(2**63) - 1, Decimal("1e50"), Decimal("Infinity")])
def test_a_large_id_is_named_by_its_row(large):
    ids = [type(large)(1), large, type(large)(2)]
    named = f"row 2, column 'user': got {re.escape(repr(large))}; allowed"
    with pytest.raises(DataError, match=named):
        from_frames({"user": ids, "item": [1, 2, 3]})


@pytest.mark.parametrize(
    "column",
    [
        *(pl.Series([0, 2**62]).cast(pl.Datetime(unit)) for unit in ("ms", "us")),
        pl.Series([0, -(2**60)]).cast(pl.Datetime("ms", "UTC")),
        pl.Series([0, 2**30], dtype=pl.Int32).cast(pl.Date),
        *(pa.array([0, value], pa.timestamp("s")) for value in (2**55, 2**62, -(2**60))),
        pa.array([0, 2**55], pa.timestamp("s", "+05:30")),
        np.array([0, 2**55], "M8[s]"),
    ],
    ids=lambda column: str(getattr(column, "dtype", None) or column.type),  # polars shows no value
)
def test_dates_beyond_the_years_of_python_are_named(column):
    message = "row 2, column 'x': got .*; allowed: dates and times of the years 1 to 9999"
    with pytest.raises(DataError, match=message):
        from_frames({"user": ["u", "v"], "item": ["a", "b"], "x": column}, time="x")
    with pytest.raises(DataError, match=message):
        from_frames({"x": column, "item": ["a", "b"]}, user="x")
    with pytest.raises(DataError, match=message):
        from_frames(CLICKS, {"item": ["a", "b"], "x": column}, text=["x"])
    assert from_frames({"user": [1, 2], "item": [1, 2], "unread": column}).counts["rows"] == 2


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, pa.array, pl.Series])
def test_nanoseconds_of_numpy_are_times(kind):
    times = kind(pd.to_datetime(["2024-05-31T12:30", "2024-05-31T12:31"]).values.astype("M8[ns]"))
    data = from_frames({"user": [1, 1], "item": [1, 2], "t": times}, time="t")
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [1717158600, 1717158660]


def test_periods_are_their_text():
    items = pd.DataFrame({"item": ["a"], "title": pd.period_range("2024Q1", periods=1, freq="Q")})
    assert from_frames(CLICKS, items).catalogue.texts == ("2024Q1",)
    days = pd.period_range("2024-05-31", periods=1, freq="D")
    clicks = pd.DataFrame({**CLICKS, "t": days})
    data = from_frames(clicks, time="t")
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [1717113600]
    with pytest.raises(DataError, match=r"got Period\('2024-05-31', 'D'\).*not Period"):
        from_frames(pd.DataFrame({"user": days, "item": ["a"]}))


# -- arguments --


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on_unknown_item": "zzz"}, "on_unknown_item 'zzz'; allowed: add, raise"),
        *(
            ({"positive_rating": value}, "positive_rating must be a finite number, got")
            for value in ("3", True, float("nan"), [3])
        ),
        *(({"user": value}, "user must be text, got") for value in (None, 5, ["user"])),
        *(({name: 5}, f"{name} must be text, got 5") for name in ("rating", "time", "position")),
        ({"item": None}, "item must be text, got None"),
        ({"name": 5}, "name must be text, got 5"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        from_frames({**CLICKS, "rating": [5]}, **{"rating": "rating", **arguments})


def test_a_text_column_is_named_once(tmp_path):
    items = {"item": ["a"], "title": ["A"]}
    with pytest.raises(DataError, match=r"text names a column twice: \['title', 'title'\]"):
        from_frames(CLICKS, items, text=["title", "title"])
    write_folder(
        tmp_path / "d",
        pl.DataFrame(CLICKS),
        pl.DataFrame(items),
        DatasetConfig(text=("title", "title")),
    )
    with pytest.raises(DataError, match="text names a column twice"):
        read_dataset(tmp_path / "d")


def no_lists():
    frame = pd.DataFrame({"user": ["u"]})
    return [
        *("u", b"u", bytearray(b"u"), memoryview(b"u"), 5, None, np.str_("u")),
        *(np.array("u"), np.array(5), np.int64(5), np.datetime64("2024-05-31")),
        *({"u": 1}, frame, pl.DataFrame({"user": ["u"]}), pl.LazyFrame({"user": ["u"]})),
        pa.table({"user": ["u"]}),
    ]


@pytest.mark.parametrize("value", no_lists(), ids=lambda value: type(value).__name__)
def test_an_argument_that_is_no_list_is_one_error(value):
    model = ws.Popular().fit(from_frames({"user": ["u", "v"], "item": ["a", "b"]}))
    for call in (
        lambda: model.recommend(value, 1, on_unknown="ignore"),
        lambda: model.recommend(["u"], 1, items=value) if value is not None else model.recommend(5),
        lambda: from_frames({"user": value, "item": ["a"]}),
    ):
        with pytest.raises(DataError, match="must be a list, got "):
            call()


@pytest.mark.parametrize("kind", [pa.array, pd.Index, pd.array, deque, dict.fromkeys])
def test_other_lists_of_ids_are_read(kind):
    model = ws.Popular().fit(from_frames({"user": ["a", "b"], "item": ["a", "b"]}))
    given = kind(["a", "b"])
    given = given.keys() if isinstance(given, dict) else given
    assert model.recommend(given, 1)["user"].to_list() == ["a", "b"]


def test_the_threshold_may_be_a_decimal():
    frame = {"user": [1, 1], "item": [1, 2], "rating": [2.5, 4]}
    data = from_frames(frame, rating="rating", positive_rating=Decimal("3"))
    assert data.counts["ratings_below_positive"] == 1


@pytest.mark.parametrize("times", [[2001.5, 2002.0], [20240101.7, 20240102.0]])
def test_seconds_with_fractions_are_neither_years_nor_days(times):
    data = from_frames({"user": [1, 1], "item": [1, 2], "when": times}, time="when")
    assert data.interactions.times.tolist() == [int(time) for time in times]


SENTENCES = [f"the {word} novel is set in a small town by the sea" for word in "abc"]


@pytest.mark.parametrize(
    "column",
    [
        SENTENCES,
        pd.Categorical(SENTENCES),
        [s.encode() for s in SENTENCES],
        [[s] for s in SENTENCES],
    ],
)
def test_a_column_of_sentences_is_named_whatever_its_type(column):
    items = pd.DataFrame({"item": ["x", "y", "z"], "title": ["one", "two", "three"]})
    items["blurb"] = pd.Series(column)
    with pytest.warns(DataWarning, match="'blurb'"):
        from_frames({"user": [1], "item": ["x"]}, items)


def test_addresses_and_short_lists_of_names_are_no_texts():
    items = {
        "item": ["x", "y"],
        "title": ["one", "two"],
        "address": ["12 Main Street, Springfield, Illinois, United States", "3 Elm Road, Bath, UK"],
        "actors": ["Tom Hanks, Tim Allen, Don Rickles", "Anna Karina, Jean Seberg, Eva Renzi"],
    }
    from_frames({"user": [1], "item": ["x"]}, items)
