"""Records of new items become a catalogue, each as if it were alone."""

import polars as pl
import pytest

from warmstart.data.catalogue import Catalogue
from warmstart.data.ids import Ids
from warmstart.data.readers.item_records import catalogue_of_records
from warmstart.errors import DataError

LIKE = Catalogue(
    Ids(["a"], "item"),
    ("A",),
    None,
    pl.DataFrame(
        {"title": ["A"], "genres": ["Drama|War"], "cast": [["X", "Y"]], "year": ["1999"]},
        schema_overrides={"cast": pl.List(pl.String)},
    ),
    ("title",),
)
RECORDS = [
    {"title": "One", "genres": ["War", "Comedy"], "cast": "Z", "year": 2001, "price": 3},
    {"title": ["Two", "Deux"], "genres": "War | Drama", "cast": ["X", "Q"], "year": 2.5},
    {"title": "Three | Trois", "year": True},
    {},
]


def read(records, like=LIKE, ids=None):
    texts = [f"text {at}" for at in range(len(records))]
    return catalogue_of_records(records, texts, like, ids)


def test_values_are_read_as_in_files():
    found = read(RECORDS, ids=["p", "q", "r", "s"])
    assert found.item_ids.values == ["p", "q", "r", "s"]
    assert found.texts == ("text 0", "text 1", "text 2", "text 3")
    assert found.columns.columns == LIKE.columns.columns
    assert found.columns["year"].to_list() == ["2001", "2.5", "true", None]
    assert found.columns["cast"].to_list() == [["Z"], ["X", "Q"], None, None]
    genres = found.attribute("genres")
    rows = genres.matrix_of(["Comedy", "Drama", "War"]).toarray().tolist()
    assert rows == [[True, False, True], [False, True, True], [False] * 3, [False] * 3]
    assert found.text_columns == ("title",)


def test_each_item_is_read_as_if_it_were_alone():
    together = read(RECORDS)
    for at, record in enumerate(RECORDS):
        alone = read([record])
        assert alone.columns.row(0) == together.columns.row(at)
        assert alone.columns.schema == together.columns.schema


def test_ids_are_text():
    numbered = Catalogue(Ids([7], "item"), ("A",), None, LIKE.columns, ("title",))
    assert read(RECORDS[:2], numbered, ["12", "x"]).item_ids.values == ["12", "x"]
    assert read(RECORDS[:2], numbered).item_ids.values == ["0", "1"]
    with pytest.raises(DataError, match="'p' occurs twice"):
        read(RECORDS[:2], ids=["p", "p"])


def test_no_records_and_no_columns_are_allowed():
    assert read([]).columns.schema == LIKE.columns.schema
    bare = Catalogue(Ids(["a"], "item"), ("",), None, pl.DataFrame(), ())
    found = read([{"title": "One"}], bare)
    assert (len(found), found.columns.width) == (1, 0)
