"""Dialogues: what is read, what is refused and how, and how they meet the other tables."""

import copy
import gzip
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from warmstart.data.dataset import Dataset
from warmstart.data.dialogues import Dialogues
from warmstart.data.readers.files import read_dataset, write_dataset
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.files import load_split, save_split
from warmstart.data.splits.random_cold import random_cold
from warmstart.errors import DataError, DataWarning

CLICKS = {"user": ["u", "v"], "item": ["a", "b"]}
ITEMS = {"item": ["a", "b", "c"], "title": ["A", "B", "C"]}
TALKS = [
    {
        "dialogue": "d1",
        "part": "train",
        "turns": [
            {"speaker": "user", "text": " Like\n A? ", "items": ["a"]},
            {"speaker": "system", "text": "C, or B", "items": ["c", "b", "c"]},
            {"speaker": "system", "text": "bye"},
        ],
    },
    {"dialogue": "d0", "part": "test", "turns": [{"speaker": "system", "text": None, "items": []}]},
    {"dialogue": "d2", "turns": []},
]


def lines(talks) -> str:
    return "".join(json.dumps(talk) + "\n" for talk in talks)


def read(talks=TALKS, **named) -> Dataset:
    return from_frames(CLICKS, ITEMS, dialogues=talks, **named)


def of(data: Dataset) -> Dialogues:
    assert data.dialogues is not None
    return data.dialogues


def changed(*path, value) -> list:
    """The dialogues with one value replaced."""
    talks = copy.deepcopy(TALKS)
    place = talks
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return talks


# -- what is read --


def test_dialogues_are_read_in_columns():
    data = read()
    talks = of(data)
    assert talks.ids == ("d1", "d0", "d2")
    assert talks.parts == ("train", "test", None)
    assert talks.offsets.tolist() == [0, 3, 4, 4]
    assert talks.speakers.tolist() == [0, 1, 1, 1]
    assert talks.texts == ("Like A?", "C, or B", "bye", "")
    assert talks.items.offsets.tolist() == [0, 1, 3, 3, 3]
    assert data.catalogue.item_ids.take(talks.items.items) == ["a", "c", "b"]
    assert (talks.offsets.dtype, talks.speakers.dtype) == (np.int64, np.int8)
    assert (data.counts["dialogues"], data.counts["turns"]) == (3, 4)
    assert data.hash == from_frames(CLICKS, ITEMS).hash


FORMS = {
    "dict": lambda: {name: [t.get(name) for t in TALKS] for name in ("dialogue", "part", "turns")},
    "pandas": lambda: pd.DataFrame(TALKS),
    "polars": lambda: pl.DataFrame(TALKS),
    "Arrow": lambda: pa.Table.from_pylist(TALKS),
    "pandas of arrays": lambda: pd.DataFrame(TALKS).assign(
        turns=[np.array(t["turns"], dtype=object) for t in TALKS]
    ),
    "tuple": lambda: tuple(TALKS),
}


@pytest.mark.parametrize("form", FORMS)
def test_frames_of_every_kind_give_the_same_dialogues(form):
    assert of(read(FORMS[form]())).hash == of(read()).hash


@pytest.mark.parametrize("name", ["dialogues__jsonl", "dialogues__jsonl__gz"])
def test_a_folder_may_have_dialogues(write, name):
    text = lines(TALKS).encode()
    folder = write(
        interactions__csv="user,item\nu,a\nv,b\n",
        items__csv="item,title\na,A\nb,B\nc,C\n",
        **{name: gzip.compress(text) if name.endswith("gz") else text},
    )
    data = read_dataset(folder)
    assert of(data).hash == of(read()).hash
    assert data.hash == read().hash


def test_item_ids_have_one_type_in_all_files(write):
    rows = {"interactions__csv": "user,item\n1,7\n", "items__csv": "item,title\n7,A\n8,B\n"}
    talk = {"dialogue": 5, "turns": [{"speaker": "user", "text": "x", "items": [8, 7.0]}]}
    data = read_dataset(write(**rows, dialogues__jsonl=lines([talk])))
    assert data.catalogue.item_ids.values == [7, 8]
    assert of(data).items.items.tolist() == [1, 0]
    assert of(data).ids == ("5",)
    talk["turns"][0]["items"] = ["8"]
    data = read_dataset(write(**rows, dialogues__jsonl=lines([talk])))
    assert data.catalogue.item_ids.values == ["7", "8"]


# -- unknown items --


def test_unknown_items_are_added_or_refused():
    talks = changed(0, "turns", 2, value={"speaker": "user", "text": "", "items": ["z", "y"]})
    data = read(talks)
    assert data.catalogue.item_ids.values == ["a", "b", "c", "y", "z"]
    assert data.counts["unknown_items_added"] == 2
    assert of(data).items.items.tolist() == [0, 2, 1, 4, 3]
    with pytest.raises(DataError, match=r"dialogues: 2 item\(s\) are not in the catalogue.*'y'"):
        read(talks, on_unknown_item="raise")


def test_items_of_another_spelling_are_named():
    talks = changed(0, "turns", value=[{"speaker": "user", "text": "", "items": ["A1", "B1"]}])
    with pytest.raises(DataError, match="none of the 2 items of the dialogues is among the 3"):
        read(talks)
    talks[0]["turns"][0]["items"].append("a")
    with pytest.warns(DataWarning, match="only 1 of the 3 items of the dialogues are in"):
        read(talks)


# -- dialogues without interactions --


def test_without_interactions_dialogues_are_the_users(write):
    data = from_frames(None, ITEMS, dialogues=TALKS[:2])
    assert data.user_ids.values == ["d0", "d1"]
    assert data.clock == "position"
    assert data.catalogue.item_ids.take(data.histories[1]) == ["a", "c", "b"]
    assert data.counts["users_without_positives"] == 1
    folder = write(items__csv="item,title\na,A\nb,B\nc,C\n", dialogues__jsonl=lines(TALKS[:2]))
    assert read_dataset(folder).hash == data.hash
    with pytest.raises(DataError, match="the dialogues: has no rows"):
        from_frames(None, ITEMS, dialogues=TALKS[1:])
    with pytest.raises(DataError, match="the interactions frame: got NoneType"):
        from_frames(None, ITEMS)


# -- what is refused --

SAY = {"speaker": "user", "text": "x"}
BAD = [
    (("dialogue",), None, "row 1, column 'dialogue': got None; allowed"),
    (("dialogue",), "d2", "row 3, column 'dialogue': got 'd2'; allowed: each dialogue id once"),
    (("part",), "dev", "row 1, column 'part': got 'dev'; allowed: train, valid, test, or no value"),
    (("turns",), "hi", "row 1, column 'turns': got 'hi'; allowed: a list of turns, each with"),
    (("turns",), None, "row 1, column 'turns': got None; allowed: a list of turns"),
    (("turns",), {"speaker": "user"}, "column 'turns': got {'speaker': 'user'}; allowed: a list"),
    (("turns", 1), "hi", "row 1, turn 2: got 'hi'; allowed: a turn with speaker, text and items"),
    (("turns", 1, "speaker"), "bot", "turn 2, 'speaker': got 'bot'; allowed: 'user' or 'system'"),
    (("turns", 1, "speaker"), None, "row 1, turn 2, 'speaker': got None; allowed: 'user' or"),
    (("turns", 1, "speaker"), 1, "row 1, turn 2, 'speaker': got 1; allowed: 'user' or 'system'"),
    (("turns", 1, "items"), "c", "row 1, turn 2, 'items': got 'c'; allowed: a list of item ids"),
    (("turns", 1, "items"), {"c": 1}, "'items': got {'c': 1}; allowed: a list of item ids"),
    (("turns", 1, "items"), ["c", None], "row 1, turn 2, 'items': got None; allowed: a whole"),
    (("turns", 1, "items"), ["c", 1], "turn 2, 'items': got 1; allowed.*of one type in all rows"),
    (("turns", 1, "items"), [1.5], "row 1, turn 2, 'items': got 1.5; allowed"),
    (("turns", 1, "items"), [["c"]], r"row 1, turn 2, 'items': got \['c'\]; allowed.*not list"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD, ids=lambda case: str(case)[:40])
def test_wrong_values_are_named(write, path, value, message):
    talks = changed(0, *path, value=value)
    with pytest.raises(DataError, match="the dialogues: .*" + message):
        read(talks)
    folder = write(interactions__csv="user,item\nu,a\n", dialogues__jsonl=lines(talks))
    with pytest.raises(DataError, match=r"given/dialogues\.jsonl: .*" + message):
        read_dataset(folder)


def test_wrong_texts_are_named():
    talks = changed(0, "turns", 1, "text", value="half \ud83d")
    talks[0]["turns"][2]["text"] = b"\xff"
    with pytest.raises(DataError, match=r"row 1, turn 2, 'text': .*1 more value.*surrogates"):
        read(talks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("[1]\n", r"row 1: got \[1\]; allowed: one JSON object per line"),
        ('{"dialogue": "d"\n', "row 1: not JSON"),
        ('{"dialogue": "d"}\n', r"column 'turns' is missing; its columns are \['dialogue'\]"),
        ('{"conversation": 1, "turns": []}\n', "'dialogue' is missing.*is it 'conversation'"),
        (b'{"dialogue": "\xff", "turns": []}\n', "line 1 is not UTF-8"),
    ],
)
def test_wrong_files_are_named(write, content, message):
    folder = write(interactions__csv="user,item\nu,a\n", dialogues__jsonl=content)
    with pytest.raises(DataError, match=r"dialogues\.jsonl: .*" + message):
        read_dataset(folder)


def test_a_damaged_packed_file_is_named(write):
    packed = gzip.compress(lines(TALKS).encode())
    for damaged in (packed[:-9], b"not packed", packed[:12] + b"\xff" * 9 + packed[21:]):
        folder = write(interactions__csv="user,item\nu,a\n", dialogues__jsonl__gz=damaged)
        with pytest.raises(DataError, match=r"dialogues\.jsonl\.gz: "):
            read_dataset(folder)


def test_records_that_are_none_are_named():
    with pytest.raises(DataError, match="the dialogues: row 2: got 5; allowed: a mapping"):
        read([TALKS[0], 5])
    with pytest.raises(DataError, match="the dialogues: got str; allowed: a pandas"):
        read("dialogues.jsonl")


def test_fields_under_other_names_are_warned_of():
    turns = [{"speaker": "user", "text": "x", "mentions": ["a"], "sentiment": 1}]
    with pytest.warns(DataWarning, match=r"turns: not read: 'mentions' \(is it 'items'\?\)"):
        data = read([{"dialogue": "d", "turns": turns, "rating": 3}])
    assert data.unread_columns == (
        "the dialogues: rating",
        "the dialogues, turns: mentions",
        "the dialogues, turns: sentiment",
    )


# -- on disk --


def test_dialogues_survive_writing_and_splits(tmp_path, timed):
    ids = timed.catalogue.item_ids.values
    talks = copy.deepcopy(TALKS)
    for turn, items in zip(talks[0]["turns"], (ids[:1], ids[4:1:-1], []), strict=True):
        turn["items"] = items
    rows = {
        "user": timed.user_ids.take(timed.interactions.users),
        "item": timed.catalogue.item_ids.take(timed.interactions.items),
    }
    data = from_frames(rows, {"item": ids, "title": ids}, dialogues=talks)
    write_dataset(data, tmp_path / "data")
    again = read_dataset(tmp_path / "data")
    assert of(again).hash == of(data).hash
    assert again.hash == data.hash
    write_dataset(data, tmp_path / "data")  # a folder written before is replaced
    save_split(random_cold(data), tmp_path / "split")
    assert of(load_split(tmp_path / "split").dataset).hash == of(data).hash
