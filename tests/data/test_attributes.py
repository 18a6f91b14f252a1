"""Item columns that hold several values: of every name, from every source, in new items too."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import warmstart as ws
from warmstart.data.attributes import has_several_values, read_attribute
from warmstart.data.catalogue import Catalogue
from warmstart.data.readers.files import read_dataset, read_items, write_dataset
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.files import load_split, save_split
from warmstart.data.splits.random_cold import random_cold
from warmstart.errors import DataError

CLICKS = {"user": ["u", "v"], "item": ["a", "b"]}
STARS = [["Ann", "Bo"], None, ["Bo"], []]


def films(**columns) -> Catalogue:
    return from_frames(CLICKS, {"item": list("abcd"), "title": list("ABCD"), **columns}).catalogue


def values(catalogue: Catalogue, name: str) -> list[list[str]]:
    attribute = catalogue.attribute(name)
    rows = attribute.matrix.toarray()
    return [[attribute.values[at] for at in np.flatnonzero(row)] for row in rows]


FORMS = {
    "lists": STARS,
    "tuples": [("Ann", "Bo"), None, ("Bo",), ()],
    "text": ["Ann|Bo", None, "Bo", ""],
    "blanks": [" Ann | Bo ", None, "Bo|", "|"],
    "text form": ["['Ann', 'Bo']", None, '["Bo"]', "[]"],
    "polars": pl.Series(STARS),
    "Arrow": pa.array(STARS),
    "pandas": pd.Series(STARS, dtype=object),
    "repeats": [["Ann", "Bo", "Ann"], None, ["Bo", "Bo"], [None, "nan"]],
}


@pytest.mark.parametrize("name", ["stars", "genres"])
@pytest.mark.parametrize("form", FORMS)
def test_a_column_of_any_name_and_form_is_an_attribute(name, form):
    catalogue = films(**{name: FORMS[form]})
    assert values(catalogue, name) == [["Ann", "Bo"], [], ["Bo"], []]
    attribute = catalogue.attribute(name)
    assert attribute.values == ("Ann", "Bo")
    assert attribute.first.tolist() == [0, -1, 1, -1]
    assert catalogue.attribute_names == (name,)


def test_a_list_has_the_text_that_it_always_had():
    items = {"item": list("abcd"), "stars": STARS, "genres": [["x", "y"], "x|z", "w", None]}
    data = from_frames(CLICKS, items, text=["stars", "genres"])
    assert data.catalogue.texts == ("Ann, Bo. x, y", "x, z", "Bo. w", "")
    assert data.catalogue.columns.schema == {"stars": pl.List(pl.String), "genres": pl.String}


@pytest.mark.parametrize("name", ["stars", "genres"])
def test_a_value_of_a_list_may_contain_the_separator(name):
    catalogue = films(**{name: [["AC|DC", "Bo"], None, ["Bo"], []]})
    assert values(catalogue, name) == [["AC|DC", "Bo"], [], ["Bo"], []]
    quoted = films(**{name: ["['AC|DC', 'Bo']", None, "Bo", ""]})
    assert values(quoted, name) == [["AC|DC", "Bo"], [], ["Bo"], []]


def test_texts_beside_lists_stay_one_value():
    mixed = films(stars=[["Ann", "Bo"], "Cy|Di", 7, None])
    assert values(mixed, "stars") == [["Ann", "Bo"], ["Cy|Di"], ["7"], []]
    assert values(films(genres=[["A|B"], "c|d", None, None]), "genres")[:2] == [["A|B"], ["c", "d"]]


def test_titles_with_the_separator_are_no_attribute():
    titles = pl.Series("title", ["A | B", *(f"title {n}" for n in range(50))])
    assert not has_several_values(titles)
    assert has_several_values(titles.head(50))
    assert not has_several_values(pl.Series([["a"], None]))
    assert has_several_values(pl.Series([["a"]] * 500 + [["a", "b"]]))
    assert not has_several_values(pl.Series([1.5, 2]))
    assert films(tags=[None] * 4).attribute_names == ("tags",)


def test_an_unknown_column_is_named():
    with pytest.raises(DataError, match=r"no column 'plot'; their columns are \['title', '"):
        films(stars=STARS).attribute("plot")


def test_attributes_survive_taking_writing_splits_and_models(tmp_path):
    rng = np.random.default_rng(0)
    items = {
        "item": [f"i{n}" for n in range(30)],
        "title": [f"t{n}" for n in range(30)],
        "stars": [["x|y", f"s{n % 3}"] for n in range(30)],
    }
    rows = {"user": rng.integers(0, 20, 300), "item": [f"i{n}" for n in rng.integers(0, 30, 300)]}
    data = from_frames(rows, items, text=["title", "stars"])
    expected = data.catalogue.attribute("stars")
    assert expected.values == ("s0", "s1", "s2", "x|y")

    write_dataset(data, tmp_path / "data")
    again = read_dataset(tmp_path / "data")
    assert again.hash == data.hash
    save_split(random_cold(data), tmp_path / "split")
    ws.Popular().fit(data).save(tmp_path / "model")
    for catalogue in (
        again.catalogue,
        load_split(tmp_path / "split").dataset.catalogue,
        ws.load_model(tmp_path / "model").fitted.catalogue,
        data.catalogue.take(np.arange(30)),
    ):
        found = catalogue.attribute("stars")
        assert found.values == expected.values
        assert np.array_equal(found.matrix.toarray(), expected.matrix.toarray())
    assert values(data.catalogue.take(np.array([4, 2])), "stars") == [["s1", "x|y"], ["s2", "x|y"]]


# -- new items --


def test_new_items_have_all_their_columns(tmp_path):
    new = {"item": ["n"], "title": ["N"], "stars": [["Ann", "Cy"]], "label": ["x|y"], "size": [3.0]}
    (tmp_path / "new.jsonl").write_text(json.dumps({name: cell[0] for name, cell in new.items()}))
    for source in (new, pl.DataFrame(new), tmp_path / "new.jsonl"):
        catalogue = read_items(source, ("title",), columns=["title", "stars"])
        assert catalogue.columns.columns == ["title", "stars", "label", "size"]
        assert values(catalogue, "stars") == [["Ann", "Cy"]]
        assert values(catalogue, "label") == [["x", "y"]]
        assert catalogue.columns["size"].to_list() == ["3"]


@pytest.mark.parametrize("old", [STARS, ["Ann|Bo", None, "Bo", None]])
@pytest.mark.parametrize("new", [["Bo", "Cy"], "Bo|Cy"])
def test_lists_and_texts_extend_each_other(old, new):
    for name in ("stars", "genres"):
        known = films(**{name: old})
        extended = known.extended(
            read_items({"item": ["n"], name: [new], "more": ["m"]}, [name], columns=[name])
        )
        assert values(extended, name) == [["Ann", "Bo"], [], ["Bo"], [], ["Bo", "Cy"]]
        assert extended.columns.columns == known.columns.columns


def test_an_attribute_may_be_read_from_a_column_alone():
    attribute = read_attribute(pl.Series("x", ["b|a", None]))
    assert (attribute.name, attribute.values, attribute.first.tolist()) == (
        "x",
        ("a", "b"),
        [1, -1],
    )
    assert attribute.matrix.toarray().tolist() == [[True, True], [False, False]]
