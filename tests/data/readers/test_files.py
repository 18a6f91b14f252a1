import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.readers.files import read_dataset, read_items, write_dataset
from warmstart.data.readers.frames import from_frames
from warmstart.data.readers.table_files import read_table
from warmstart.data.values import NULL_WORDS
from warmstart.errors import ConfigError, DataError

ITEMS = "item,title,genres,year\na,Alpha,Drama|War,1999\nb,  Beta\t two ,,2001\nc,,,\n"


def pairs(data: Dataset) -> set[tuple]:
    events = data.interactions
    return set(
        zip(
            data.user_ids.take(events.users),
            data.catalogue.item_ids.take(events.items),
            strict=True,
        )
    )


def test_csv_folder_is_read_with_texts_columns_and_counts(write):
    data = read_dataset(
        write(
            interactions__csv="user,item,rating,timestamp\nu2,a,5,20\nu1,b,2,10\nu1,a,4.0,30\n",
            items__csv=ITEMS,
            dataset__toml='name = "films"\npositive_rating = 3.5\n',
        )
    )
    assert data.name == "films"
    assert pairs(data) == {("u2", "a"), ("u1", "a")}
    assert data.user_ids.values == ["u1", "u2"]
    assert data.catalogue.item_ids.values == ["a", "b", "c"]
    assert data.catalogue.texts == ("Alpha. Drama, War", "Beta two", "")
    assert data.catalogue.columns["year"].to_list() == ["1999", "2001", None]
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [30, 20]
    assert data.clock == "unix"
    assert data.counts == {
        "rows": 3,
        "ratings_below_positive": 1,
        "duplicates_merged": 0,
        "interactions": 2,
        "users": 2,
        "users_without_positives": 0,
        "items": 3,
        "items_without_interactions": 2,
        "items_without_text": 1,
        "unknown_items_added": 0,
    }


def test_every_form_of_file_gives_the_same_data(write, tmp_path):
    rows = {"user": ["u1", "u2"], "item": ["a", "b"], "timestamp": [5, 6]}
    items = {"item": ["a", "b"], "title": ["Alpha", "Beta"], "tags": ["x|y", None]}
    csv, item_csv = pl.DataFrame(rows).write_csv(), pl.DataFrame(items).write_csv()
    first = write(interactions__csv=csv, items__csv=item_csv)
    expected = read_dataset(first).hash

    def folder(name: str) -> Path:
        made = tmp_path / name
        made.mkdir()
        return made

    packed = folder("gz")
    (packed / "interactions.csv.gz").write_bytes(gzip.compress(csv.encode()))
    (packed / "items.csv.gz").write_bytes(gzip.compress(item_csv.encode()))
    parquet = folder("parquet")
    pl.DataFrame(rows).write_parquet(parquet / "interactions.parquet")
    pl.DataFrame(items).write_parquet(parquet / "items.parquet")
    jsonl = folder("jsonl")
    (jsonl / "interactions.jsonl").write_text(
        '{"user": "u1", "item": "a", "timestamp": 5}\n{"timestamp": 6, "item": "b", "user": "u2"}'
    )
    (jsonl / "items.jsonl").write_text(
        '{"item": "a", "title": "Alpha", "tags": ["x", "y"]}\n{"item": "b", "title": "Beta"}\n'
    )
    for other in (packed, parquet, jsonl):
        assert read_dataset(other).hash == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["7", "10", "-3"], [-3, 7, 10]),
        (["07", "10"], ["07", "10"]),
        (["1e3", "10"], ["10", "1e3"]),
        (["+1", "1"], ["+1", "1"]),
        (["123456789012345678901", "1"], ["1", "123456789012345678901"]),
        ([" 1", "2 "], [1, 2]),
        (["1.0", "2"], [1, 2]),
        (["1.5", "2"], ["1.5", "2"]),
        (["9223372036854775807", "1"], [1, 9223372036854775807]),
    ],
)
def test_csv_ids_are_integers_only_if_all_are_written_so(write, cells, expected):
    rows = "".join(f"{cell},x\n" for cell in cells)
    assert read_dataset(write(interactions__csv=f"user,item\n{rows}")).user_ids.values == expected


def test_csv_ids_take_the_type_of_a_typed_table_beside_them(write):
    folder = write(
        interactions__csv="user,item\n1,1\n2,2\n",
        items__jsonl='{"item": "1", "title": "one"}\n{"item": "2", "title": "two"}\n',
    )
    assert read_dataset(folder).catalogue.item_ids.values == ["1", "2"]
    write(items__jsonl='{"item": 1, "title": "one"}\n{"item": 2, "title": "two"}\n')
    assert read_dataset(folder).catalogue.item_ids.values == [1, 2]


def test_csv_item_ids_are_decided_over_both_files(write):
    folder = write(interactions__csv="user,item\n1,5\n", items__csv="item,title\n5,five\nx,ex\n")
    data = read_dataset(folder)
    assert data.catalogue.item_ids.values == ["5", "x"]
    assert data.counts["unknown_items_added"] == 0


def test_typed_tables_of_different_id_types_are_refused(write):
    folder = write(
        interactions__jsonl='{"user": 1, "item": 1}\n', items__jsonl='{"item": "1", "title": "x"}\n'
    )
    with pytest.raises(DataError, match=r"item ids must be all int or all str.*int in .*str in"):
        read_dataset(folder)


BAD = [
    ({"interactions__csv": "user,item\nu1\n"}, r"interactions\.csv: row 1: Expected 2 columns"),
    ({"interactions__csv": "user,item\nu1,a\nu1,b,c\n"}, r"csv: row 2: Expected 2 columns, got 3"),
    (
        {"interactions__csv": "user,item\nu1,\n"},
        r"row 1, column 'item': got None; allowed: a whole number of 64 bits or",
    ),
    ({"interactions__csv": 'user,item\nu1,a\n"",a\n'}, r"row 2, column 'user': got ''; allowed"),
    ({"interactions__csv": "user,thing\nu1,a\n"}, r"column 'item' is missing; its columns are"),
    ({"interactions__csv": "user,item,item\nu1,a,b\n"}, r"column\(s\) \['item'\] occur twice"),
    ({"interactions__csv": ""}, "the file is empty"),
    (
        {"interactions__csv": b"user,item\nu1,a\nu2,\xff\n"},
        r"line 3, column 'item' is not UTF-8: got b'u2,\\xff",
    ),
    ({"interactions__csv__gz": b"user,item\nu1,a\n"}, r"interactions\.csv\.gz: not a csv file"),
    (
        {"interactions__csv": "user,item,rating\nu1,a,4\nu1,b,good\nu1,c,bad\n"},
        r"row 2, column 'rating': got 'good' \(1 more row\(s\) like it\); allowed: a finite number",
    ),
    ({"interactions__csv": "user,item,rating\nu1,a,inf\n"}, "row 1, column 'rating': got 'inf'"),
    ({"interactions__csv": "user,item,timestamp\nu1,a,\n"}, "row 1, column 'timestamp': got None"),
    (
        {"interactions__csv": "user,item,timestamp\nu1,a,5\nu2,a,2024-01-01\n"},
        "row 2, column 'timestamp': got '2024-01-01'.*one form for the whole column",
    ),
    (
        {"interactions__csv": "user,item,timestamp\nu1,a,2024-02-30\n"},
        "row 1, column 'timestamp': got '2024-02-30'; allowed: unix seconds, or ISO 8601",
    ),
    (
        {"interactions__csv": "user,item,timestamp\nu1,a,1700000000000\n"},
        "row 1, column 'timestamp'.*not milliseconds",
    ),
    ({"interactions__csv": "user,item,position\nu1,a,1.5\n"}, "column 'position': got '1.5'"),
    ({"interactions__jsonl": '{"user": "u"\n'}, r"interactions\.jsonl: row 1: not JSON"),
    ({"interactions__jsonl": '{"user": "u", "item": "a"}\n[1]\n'}, r"row 2: got \[1\]; allowed"),
    (
        {"interactions__jsonl": '{"user": "u", "item": "a"}\n{"user": 1, "item": "b"}\n'},
        r"row 2, column 'user': got 1; allowed: a whole number .*of one type in all rows",
    ),
    (
        {"interactions__jsonl": '{"user": 1.5, "item": "a"}\n'},
        "row 1, column 'user': got 1.5; allowed",
    ),
    (
        {"interactions__jsonl": '{"user": true, "item": "a"}\n'},
        "row 1, column 'user': got True; allowed",
    ),
    ({"interactions__parquet": b"PAR1 nonsense"}, r"interactions\.parquet: not a parquet file"),
    (
        {"interactions__csv": "user,item\nu,a\n", "items__csv": "item,title\na,x\nb,y\na,z\n"},
        r"items\.csv: row 3, column 'item': got 'a'; allowed: each item id once",
    ),
    (
        {"interactions__csv": "user,item\nu,a\n", "items__csv": "item,released\na,soon\n"},
        r"items\.csv: row 1, column 'released': got 'soon'",
    ),
    (
        {
            "interactions__csv": "user,item\nu,a\n",
            "items__csv": "item,title\na,x\n",
            "dataset__toml": 'text = ["plot"]',
        },
        r"text column\(s\) \['plot'\] are missing; the columns are \['title'\]",
    ),
    (
        {"interactions__csv": "user,item\nu,a\n", "interactions__jsonl": ""},
        r"found \[.*\]; keep one of them",
    ),
    ({"readme__txt": "?"}, r"no interactions; allowed: one of interactions\.csv"),
]


@pytest.mark.parametrize(("files", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_malformed_input_is_named(write, files, message):
    with pytest.raises(DataError, match=message):
        read_dataset(write(**files))


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("positve_rating = 4", r"dataset\.toml: DatasetConfig: positve_rating: there is no such"),
        ("name = ", r"dataset\.toml is not TOML"),
        ("positive_rating = 4", r"positive_rating = 4\.0 needs a rating column"),
    ],
)
def test_wrong_settings_are_named(write, toml, message):
    folder = write(interactions__csv="user,item\nu,a\n", dataset__toml=toml)
    with pytest.raises(ConfigError, match=message):
        read_dataset(folder)


def test_quoted_cells_keep_separators_quotes_and_line_breaks(write):
    folder = write(
        interactions__csv='\ufeffuser,item\n"u, 1","a ""b"""\n',
        items__csv='item,title\n"a ""b""","two\nlines, one title"\n',
    )
    data = read_dataset(folder)
    assert pairs(data) == {("u, 1", 'a "b"')}
    assert data.catalogue.texts == ("two lines, one title",)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1700000000", 1_700_000_000),
        ("1700000000.9", 1_700_000_000),
        ("2023-11-14", 1_699_920_000),
        ("2023-11-14T22:13:20", 1_700_000_000),
        ("2023-11-14 22:13:20Z", 1_700_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000),
        ("2023-11-14T17:43:20.75-0430", 1_700_000_000),
        ("2023-11-14T22:13Z", 1_699_999_980),
        ("1969-12-31T23:59:58.5Z", -2),
    ],
)
def test_times_are_unix_seconds_in_utc(write, written, seconds):
    data = read_dataset(write(interactions__csv=f"user,item,timestamp\nu,a,{written}\n"))
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [seconds]


def test_unknown_release_is_minus_one(write):
    folder = write(
        interactions__csv="user,item\nu,a\nu,z\n",
        items__csv="item,title,released\na,A,2020-01-01\nb,B,\n",
    )
    released = read_dataset(folder).catalogue.released
    assert released is not None
    assert released.tolist() == [1_577_836_800, -1, -1]


def test_duplicates_merge_to_the_first_positive_time(write):
    folder = write(
        interactions__csv="user,item,rating,timestamp\nu,a,1,5\nu,a,4,30\nu,a,5,20\nv,a,2,1\n",
        dataset__toml="positive_rating = 4",
    )
    data = read_dataset(folder)
    assert pairs(data) == {("u", "a")}
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [20]
    assert data.counts["duplicates_merged"] == 1
    assert data.counts["ratings_below_positive"] == 2
    assert data.user_ids.values == ["u", "v"]
    assert data.counts["users_without_positives"] == 1


def test_position_orders_events_and_breaks_ties_of_time(write):
    folder = write(interactions__csv="user,item,position\nu,a,2\nu,b,0\nu,c,1\n")
    data = read_dataset(folder)
    assert data.clock == "position"
    assert data.catalogue.item_ids.take(data.interactions.items) == ["b", "c", "a"]
    write(interactions__csv="user,item,timestamp,position\nu,a,9,2\nu,b,9,1\nu,c,8,3\n")
    data = read_dataset(folder)
    assert data.clock == "unix"
    assert data.catalogue.item_ids.take(data.interactions.items) == ["c", "b", "a"]


def test_unknown_items_are_added_behind_or_refused(write):
    folder = write(
        interactions__csv="user,item\nu,z\nu,a\nu,b\nu,y\n",
        items__csv="item,title\nb,Beta\na,Alpha\n",
    )
    data = read_dataset(folder)
    assert data.catalogue.item_ids.values == ["b", "a", "y", "z"]
    assert data.catalogue.texts == ("Beta", "Alpha", "", "")
    assert data.counts["unknown_items_added"] == 2
    with pytest.raises(DataError, match=r"2 item\(s\) are not in the catalogue.*\['y', 'z'\]"):
        read_dataset(folder, on_unknown_item="raise")


def test_users_without_interaction_are_kept(write):
    folder = write(interactions__csv="user,item\nu2,a\n", users__csv="user,age\nu1,30\nu2,40\n")
    assert read_dataset(folder).user_ids.values == ["u1", "u2"]


@pytest.mark.parametrize("clock", ["timestamp", "position", None])
@pytest.mark.parametrize("ids", [[3, 1, 2], ["03", "1", "b"]])
def test_written_data_reads_back_equal(tmp_path, clock, ids):
    rows = {"user": ids, "item": ids[::-1], "clock": [1, 2, 3]}
    items = {"item": [*ids, 9 if isinstance(ids[0], int) else "9"], "title": ["x", 'q"', None, "é"]}
    items |= {"released": [5, None, 7, 8], "pages": [1, 2, 3, 4]}
    data = from_frames(
        rows,
        items,
        name='a "quoted" name',
        time="clock" if clock == "timestamp" else None,
        position="clock" if clock == "position" else None,
    )
    write_dataset(data, tmp_path / "out")
    again = read_dataset(tmp_path / "out")
    assert again.hash == data.hash
    assert again.name == data.name
    assert again.clock == data.clock
    assert again.catalogue.columns["pages"].to_list() == ["1", "2", "3", "4"]
    write_dataset(again, tmp_path / "out")  # a folder written before is replaced


def test_permuted_texts_are_written_as_permuted(tmp_path, timed):
    permuted = timed.with_permuted_texts(np.random.default_rng(0))
    assert sorted(permuted.catalogue.texts) == sorted(timed.catalogue.texts)
    assert permuted.hash != timed.hash
    write_dataset(permuted, tmp_path / "out")
    assert read_dataset(tmp_path / "out").hash == permuted.hash


def test_a_folder_of_something_else_is_not_overwritten(tmp_path, timed):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match="other content"):
        write_dataset(timed, tmp_path)
    with pytest.raises(DataError, match="is a file"):
        write_dataset(timed, tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    write_dataset(timed, tmp_path / "data")
    (tmp_path / "data" / ".git").mkdir()
    with pytest.raises(DataError, match=r"also has '\.git'"):
        write_dataset(timed, tmp_path / "data")
    assert (tmp_path / "data" / ".git").is_dir()


def test_new_items_need_one_text_column_and_ids_of_the_catalogue_type(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("item,title\n1,One\n2,\n")
    like = Ids(["a", "b"], "item")
    new = read_items(path, ("title", "genres"), like)
    assert new.item_ids.values == ["1", "2"]
    assert new.texts == ("One", "")
    assert read_items(path, ("title",), Ids([7], "item")).item_ids.values == [1, 2]
    with pytest.raises(DataError, match=r"has none of the text columns \['plot'\]"):
        read_items(path, ("plot",), like)
    (tmp_path / "new.jsonl").write_text(json.dumps({"item": 5, "title": "five"}))
    with pytest.raises(DataError, match="item ids must be all int or all str"):
        read_items(tmp_path / "new.jsonl", ("title",), like)
    frame = pl.DataFrame({"item": ["c"], "title": ["See"]})
    assert read_items(frame, ("title",), like).texts == ("See",)
    with pytest.raises(DataError, match="no such file"):
        read_items(tmp_path / "none.csv", ("title",))


def test_new_items_extend_a_catalogue(timed):
    new = read_items({"item": ["n1"], "title": ["New"]}, timed.catalogue.text_columns)
    extended = timed.catalogue.extended(new)
    assert len(extended) == 81
    assert extended.texts[-1] == "New"
    with pytest.raises(DataError, match=r"already in the catalogue: \['n1'\]"):
        extended.extended(new)


ids = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=8),
    st.lists(
        st.text(
            st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zs", "Zl", "Zp"]), min_size=1
        ).filter(lambda text: text not in NULL_WORDS),
        min_size=1,
        max_size=8,
    ),
)


@pytest.mark.filterwarnings("ignore::warmstart.errors.DataWarning")
@given(users=ids, items=ids, data=st.data())
def test_law_ids_come_back_as_they_went_in_and_counts_add_up(users, items, data):
    rows = data.draw(
        st.lists(st.tuples(st.sampled_from(users), st.sampled_from(items)), max_size=20)
    )
    rows.append((users[0], items[0]))
    ratings = data.draw(st.lists(st.integers(1, 5), min_size=len(rows), max_size=len(rows)))
    ratings[-1] = 5  # no positive at all is an error
    frame = {"user": [u for u, _ in rows], "item": [i for _, i in rows], "rating": ratings}
    read = from_frames(frame, rating="rating", positive_rating=3)
    kept = {row for row, rating in zip(rows, ratings, strict=True) if rating >= 3}
    assert pairs(read) == kept
    assert read.user_ids.values == sorted({user for user, _ in rows})
    counts = read.counts
    merged = counts["duplicates_merged"] + counts["ratings_below_positive"]
    assert counts["rows"] == counts["interactions"] + merged == len(rows)


@given(order=st.permutations(range(12)))
def test_law_the_order_of_the_rows_does_not_matter(order):
    users = [f"u{row % 5}" for row in range(12)]
    items = [row % 4 for row in range(12)]
    frame = pl.DataFrame({"user": users, "item": items, "time": list(range(12))})
    shuffled = from_frames(frame[list(order)], time="time")
    assert shuffled.hash == from_frames(frame, time="time").hash


def test_a_dataset_named_none_keeps_its_name(tmp_path):
    data = from_frames(
        {"user": [1], "item": [1]}, {"item": [1], "none": ["a"]}, text=["none"], name="none"
    )
    write_dataset(data, tmp_path / "none")
    again = read_dataset(tmp_path / "none")
    assert (again.name, again.catalogue.text_columns) == ("none", ("none",))


def test_json_lines_are_read_in_linear_time(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"item": {n}, "a": 1, "b{n % 3}": 2}}\n' for n in range(100_000)))
    table = read_table(path)  # it took minutes when every row built a list of its length
    assert table.frame.shape == (100_000, 5)
    assert table.frame["b1"].null_count() == 66_667
