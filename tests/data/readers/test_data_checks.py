"""Data that can be read but are probably wrong: what is warned of, and what is not."""

from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import warmstart as ws
from warmstart.data.readers.files import read_dataset, read_items
from warmstart.data.readers.frames import from_frames
from warmstart.errors import DataError, DataWarning


def rated(ratings, **settings):
    rows = {"user": [f"u{n}" for n in range(len(ratings))], "item": ["a"] * len(ratings)}
    return from_frames({**rows, "rating": ratings}, rating="rating", **settings)


# -- ratings without a threshold --


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (
            [1, 2, 3, 4, 5, 5, None],
            r"'rating' looks like a scale from 1 to 5.*rated 1, 2, 3 \(3 of 7 rows\); "
            r"set positive_rating, for example to 4, or to 1 to keep every row",
        ),
        ([0.5 * n for n in range(1, 11)], r"from 0\.5 to 5.*example to 4, or to 0\.5 to keep"),
        (list(range(11)), r"from 0 to 10.*\(8 of 11 rows\).*example to 8, or to 0 to keep"),
        (["1", "2", "3"], "from 1 to 3.*example to 3"),
    ],
)
def test_a_scale_without_a_threshold_is_a_warning_that_can_be_silenced(ratings, message):
    with pytest.warns(DataWarning, match=message):
        everything = rated(ratings)
    lowest = min(float(rating) for rating in ratings if rating is not None)
    for threshold in (0, lowest):
        kept = rated(ratings, positive_rating=threshold)
        assert kept.hash == everything.hash
        assert kept.counts == everything.counts


@pytest.mark.parametrize(
    "ratings",
    [
        list(range(1, 40)),
        [1] * 30 + [2] * 9 + [3] * 4 + [4],
        [5, 5, 5, 5],
        [1, 2, 2, 1],
        [1, 50, 100],
        [None, None],
    ],
    ids=["many values", "mostly the lowest", "all equal", "two values", "large", "none"],
)
def test_counts_and_flags_are_no_scale(ratings):
    rated(ratings)  # a warning would be an error


def test_a_scale_in_a_folder_is_a_warning_until_the_settings_have_a_threshold(write):
    rows = "".join(f"u{n},a,{n}\n" for n in range(1, 6))
    folder = write(interactions__csv=f"user,item,rating\n{rows}")
    with pytest.warns(DataWarning, match=r"interactions\.csv: 'rating' looks like a scale"):
        read_dataset(folder)
    write(dataset__toml="positive_rating = 1")
    assert read_dataset(folder).counts["interactions"] == 5


# -- columns that look like text --

N = 12
IDS = [f"i{n}" for n in range(N)]
CLICKS = {"user": ["u"] * N, "item": IDS}
SENTENCES = [f"<p>The {n} largest ships of the old harbour</p>" for n in range(N)]


def with_column(name, values, **settings):
    return from_frames(
        CLICKS, pl.DataFrame({"item": IDS, "title": IDS, name: values}, strict=False), **settings
    )


@pytest.mark.parametrize(
    "values",
    [
        SENTENCES,
        [None, *SENTENCES[1:]],
        [f"{n} 世界の古い港で一番大きい船について" for n in range(N)],
    ],
    ids=["html", "one missing", "no spaces"],
)
def test_a_column_of_sentences_looks_like_text_whatever_its_name_is(values):
    with pytest.warns(DataWarning, match="not part of the text: 'x1'; name all text columns"):
        with_column("x1", values)
    with_column("x1", values, text=["title"])


def test_sentences_are_named_if_the_items_have_no_text_column():
    with pytest.warns(DataWarning, match="no text; its other columns: 'body_html'; name"):
        from_frames(CLICKS, {"item": IDS, "body_html": SENTENCES, "price": range(N)})


def test_sentences_of_a_file_are_named(write):
    rows = "".join(f'{item},{item},"{text}"\n' for item, text in zip(IDS, SENTENCES, strict=True))
    clicks = "".join(f"u,{item}\n" for item in IDS)
    folder = write(interactions__csv=f"user,item\n{clicks}", items__csv=f"item,title,x1\n{rows}")
    with pytest.warns(DataWarning, match=r"items\.csv: not part of the text: 'x1'"):
        read_dataset(folder)


@pytest.mark.parametrize(
    "values",
    [
        [f"https://shop.example/the-old-ships-of-the-harbour-{n}?a=b" for n in range(N)],
        [f"{n}: " + " ".join(["https://shop.example/a.jpg"] * 6) for n in range(N)],
        [f"6ba7b810-9dad-11d1-80b4-00c04fd430{n}" for n in range(10, 10 + N)],
        [f"Fri, {n + 1} May 2024 12:30:00 GMT" for n in range(N)],
        [f"2024-05-{n + 10} 12:30:00" for n in range(N)],
        [" ".join(str(part) for part in range(n, n + 9)) for n in range(N)],
        ["Home and garden, tools, and hand tools"] * N,
        [f"Brand {n}" for n in range(N)],
        [["the", "old", "ships", "of", "the", str(n)] for n in range(N)],
        [None] * N,
    ],
    ids=[
        *("url", "urls", "uuid", "date", "time"),
        *("numbers", "repeated", "names", "lists", "missing"),
    ],
)
def test_other_columns_do_not_look_like_text(values):
    with_column("x1", values)


# -- files with another separator --

SEMICOLONS = "item;ean;rating;date\nKD-00147;4511515473748;4,5;01.12.2025\n"


@pytest.mark.parametrize(
    ("content", "mark"),
    [
        (SEMICOLONS, ";"),
        ("\ufeff" + SEMICOLONS, ";"),
        ("\r\n" + SEMICOLONS.replace("\n", "\r\n"), ";"),
        ('"item";"title"\n"a";"red, white, and blue"\n', ";"),
        ('item;"title, long";title\na;red, white;blue\n', ";"),
        ("item;title;price, EUR\na;b;4,5\n", ";"),
        ("item\ttitle\na\tred, white\nb\tblue\n", r"\\t"),
        ("item|title\na|red, white\nb|blue\n", r"\|"),
        ("item;title\n", ";"),
    ],
)
def test_another_separator_is_named_whatever_the_rows_contain(write, content, mark):
    message = rf"items\.csv: the names in the header are separated by '{mark}'; allowed: ','"
    folder = write(interactions__csv="user,item\nu,a\n", items__csv=content)
    with pytest.raises(DataError, match=message):
        read_dataset(folder)
    with pytest.raises(DataError, match=message):
        read_items(folder / "items.csv", ["title"])


def test_marks_in_the_names_of_a_right_file_are_no_separators(write):
    folder = write(
        interactions__csv='"user","item","a;b|c"\nu,a,"x;y"\n',
        items__csv='"x;y|z",item,title\n1,a,b\n',
    )
    assert read_dataset(folder).catalogue.texts == ("b",)


def test_commas_in_atomic_files_are_named(write):
    folder = write(d__inter="user_id:token,item_id:token\n1,2\n")
    with pytest.raises(DataError, match=r"separated by ','; allowed: '\\t' between cells"):
        read_dataset(folder)


def test_a_frame_of_one_column_hints_at_the_separator():
    with pytest.raises(DataError, match=r"'item' is missing.*a file with ';' between the cells"):
        from_frames(pd.DataFrame({"user;item": ["u;a"]}), user="user;item")


# -- new items with wrong columns --


@pytest.fixture(scope="module")
def news():
    items = {
        "item": [1, 2],
        "title": ["Senate vote", "Harbour"],
        "body_html": ["<p>x</p>", "<p>y</p>"],
        "tags": ["a", "b"],
        "price": [1, 2],
    }
    data = from_frames({"user": ["u", "v"], "item": [1, 2]}, items, text=list(items)[1:4])
    return lambda: ws.Popular().fit(data)


WRONG = {"item": [9001], "headline": ["Senate vote"], "body_html": ["x"], "size": [3]}


def test_new_items_with_a_misnamed_text_column_are_warned_of(news, tmp_path):
    message = (
        r"text column\(s\) \['title', 'tags'\] are missing .* not part of the text: "
        r"'headline' \(is it 'title'\?\), 'size'; rename"
    )
    with pytest.warns(DataWarning, match=message):
        assert news().add_items(WRONG)["has_text"].to_list() == [True]
    pl.DataFrame(WRONG).write_ndjson(tmp_path / "new.jsonl")
    with pytest.warns(DataWarning, match=message):
        news().add_items(tmp_path / "new.jsonl")


def test_misnamed_columns_are_warned_of_in_every_batch(news):
    model = news()
    for n in range(3):
        with pytest.warns(DataWarning, match=r"'headline' \(is it 'title'\?\), 'size'; rename"):
            model.add_items({**WRONG, "item": [9001 + n]})
    assert "headline" not in model.fitted.catalogue.columns.columns
    assert "price" in model.fitted.catalogue.columns.columns


def test_the_command_warns_of_misnamed_new_items(news, tmp_path, capsys):
    from warmstart.cli import main

    news().save(tmp_path / "m")
    pl.DataFrame(WRONG).write_ndjson(tmp_path / "new.jsonl")
    with pytest.raises(SystemExit):
        main(["add", str(tmp_path / "m"), "--items", str(tmp_path / "new.jsonl")])
    assert "'headline' (is it 'title'?)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "columns",
    [
        {"title": ["A"]},
        {"body_html": ["x"], "price": [3], "released": [2024]},
        {"title": ["A"], "body_html": ["x"], "tags": ["t"], "size": [3]},
    ],
)
def test_known_columns_of_new_items_are_not_warned_of(news, columns):
    news().add_items({"item": [9001], **columns})


def test_missing_columns_of_new_items_are_those_of_the_source(news, tmp_path):
    (tmp_path / "new.jsonl").write_text('{"id": 7, "body_html": "x"}\n')
    with pytest.raises(
        DataError, match=r"'item' is missing; its columns are \['id', 'body_html'\]"
    ):
        news().add_items(tmp_path / "new.jsonl")
    message = r"none of the text columns .*\['item', 'name'\]; rename 'name' \(is it 'title'\?\)"
    with pytest.raises(DataError, match=message):
        news().add_items({"item": [7], "name": ["x"]})


# -- times in another unit --


@pytest.mark.parametrize(
    ("unit", "factor"), [("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)]
)
@pytest.mark.parametrize("second", [200_000_000, 1_717_158_600, 4_000_000_000])
def test_times_in_a_finer_unit_are_named_with_the_conversion(unit, factor, second):
    frame = {"user": ["u"], "item": ["a"], "time": [second * factor]}
    with pytest.raises(DataError, match=f"and not {unit}: divide the values by {factor}$"):
        from_frames(frame, time="time")
    frame["time"] = [frame["time"][0] // factor]
    times = from_frames(frame, time="time").interactions.times
    assert times is not None
    assert times.tolist() == [second]


@pytest.mark.parametrize("time", [float("inf"), 1e30])
def test_other_wrong_times_name_no_unit(time):
    with pytest.raises(DataError) as caught:
        from_frames({"user": ["u"], "item": ["a"], "time": [time]}, time="time")
    assert "and not" not in str(caught.value)


# -- ids of other types --


class Key:
    def __repr__(self):
        return "Key()"


@pytest.mark.parametrize(
    ("value", "name"), [(Key(), "Key"), (True, "bool"), (["a"], "list"), (np.bool_(1), "bool")]
)
def test_ids_of_another_type_are_named_with_the_remedy(value, name):
    message = f"row 1, column 'item': got .*, not {name}; convert the ids to text or whole numbers"
    with pytest.raises(DataError, match=message):
        from_frames({"user": ["u"], "item": [value]})


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="this pyarrow has no type of UUIDs")
def test_uuids_of_a_parquet_file_are_text(tmp_path):
    ids = [UUID(int=5), UUID(int=6)]
    column = pa.array([value.bytes for value in ids], pa.uuid())
    parquet.write_table(
        pa.table({"user": ["u", "v"], "item": column}), tmp_path / "interactions.parquet"
    )
    assert read_dataset(tmp_path).catalogue.item_ids.values == [str(value) for value in ids]
