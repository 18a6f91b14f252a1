from dataclasses import replace

import numpy as np
import pytest

from tests.data.splits.made import by_user, letters, spoken, words
from warmstart.data.dialogues import Dialogues
from warmstart.data.splits.dialogue_split import requests_of, take_dialogues, text_before
from warmstart.data.splits.dialogues import dialogues
from warmstart.errors import DataError

THREE = {
    "d1": ("train", ["u a", "s b", "u", "s ac"]),
    "d2": ("valid", ["s", "u b", "s cd"]),
    "d3": ("test", ["s e", "u af", "s", "s aeb", "u c", "s gdg"]),
}


def test_each_new_item_of_a_turn_of_the_system_is_a_query():
    data = spoken(THREE, items="xyz")
    split = dialogues(data)
    task = split.tasks("test")["all"]
    assert letters(data, task.relevance) == ["e", "b", "g", "d"]
    histories = task.queries.histories
    assert [words(data, histories[row]) for row in range(4)] == ["", "eaf", "eafaebc", "eafaebc"]
    assert letters(data, task.masked) == ["", "aef", "abcef", "abcef"]
    assert letters(data, split.tasks("test", "none")["all"].masked) == [""] * 4
    assert task.queries.texts[0] == ""
    assert task.queries.texts[1] == "System: d3 says 0\nUser: d3 says 1\nSystem: d3 says 2"
    assert task.queries.texts[2] == task.queries.texts[3]
    assert task.queries.texts[2].endswith("User: d3 says 4")
    assert task.queries.users.tolist() == [-1] * 4
    assert task.groups.tolist() == [2] * 4
    assert task.ties == "middle"
    assert words(data, task.candidates) == "abcdefgxyz"  # also what no dialogue mentions
    valid = split.tasks("valid")["all"]
    assert letters(data, valid.relevance) == ["c", "d"]
    assert split.masks == ("all", "none")


def test_training_has_the_training_dialogues_and_their_items():
    data = spoken(THREE)
    split = dialogues(data)
    train = split.train
    assert train.dialogues.ids == ("d1",)
    assert train.dialogues.texts == tuple(f"d1 says {n}" for n in range(4))
    assert train.dialogues.items.offsets.tolist() == [0, 1, 2, 2, 4]
    assert by_user(train, train.interactions) == {"d1": "abc"}
    assert train.n_users == 3  # rows are those of the split
    assert split.manifest["notes"]["interactions_of_the_data_not_used"] == 1
    assert split.part_counts() == {
        "train": {"dialogues": 1, "turns": 4, "mentions": 4},
        "valid": {"dialogues": 1, "turns": 3, "mentions": 3},
        "test": {"dialogues": 1, "turns": 6, "mentions": 10},
    }
    assert repr(split) == "Split('spoken', dialogues; dialogues: train 1, valid 1, test 1)"


def test_training_requests_are_made_as_those_of_the_test():
    data = spoken(THREE, items="xyz")
    asked = requests_of(data.dialogues)
    assert words(data, asked.targets) == "bccdebgd"
    assert asked.dialogues.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    tasks = dialogues(data).tasks("test")["all"]
    assert asked.queries.take(asked.dialogues == 2).hash == tasks.queries.hash
    kept = requests_of(data.dialogues, np.array([True, False, True]))
    assert kept.queries.hash == asked.queries.take(asked.dialogues != 1).hash
    of_training = requests_of(dialogues(data).train.dialogues)
    assert of_training.queries.hash == asked.queries.take(asked.dialogues == 0).hash


def many(*parts: str | None) -> dict:
    return {f"d{n:02d}": (part, ["u a", "s b", "s c"]) for n, part in enumerate(parts)}


def test_without_published_parts_a_tenth_is_drawn_for_each():
    split = dialogues(spoken(many(*[None] * 20)), seed=1)
    assert np.bincount(split.parts).tolist() == [16, 2, 2]
    assert not np.array_equal(dialogues(spoken(many(*[None] * 20)), seed=2).parts, split.parts)
    assert np.array_equal(dialogues(spoken(many(*[None] * 20)), seed=1).parts, split.parts)


def test_where_training_is_missing_validation_trains():
    split = dialogues(spoken(many(*["valid"] * 10, *["test"] * 4)))
    assert np.bincount(split.parts).tolist() == [9, 1, 4]
    assert split.parts[10:].tolist() == [2] * 4
    assert split.manifest["published_parts"] == ["test", "valid"]


def test_where_validation_is_missing_a_tenth_of_training_is_taken():
    split = dialogues(spoken(many(*["train"] * 20, *["test"] * 4)))
    assert np.bincount(split.parts).tolist() == [18, 2, 4]


def test_what_is_missing_is_named():
    with pytest.raises(DataError, match="has no dialogues"):
        dialogues(replace(spoken(THREE), dialogues=None))
    with pytest.raises(DataError, match="1 of 3 dialogues have no part"):
        dialogues(spoken(many("train", None, "test")))
    with pytest.raises(DataError, match="dialogues leaves test empty"):
        dialogues(spoken(many("train", "train", "valid")))
    silent = {**THREE, "d3": ("test", ["u a", "s a"])}
    with pytest.raises(DataError, match=r"part \(test\) has no system turn with a new item"):
        dialogues(spoken(silent))


def test_text_begins_with_the_dialogue_and_collapses_white_space():
    data = spoken(THREE)
    first_of_d2 = 4
    assert text_before(data.dialogues, first_of_d2) == ""
    assert text_before(data.dialogues, first_of_d2 + 1) == "System: d2 says 0"
    texts = (*data.dialogues.texts[:4], " two\nlines\t", *data.dialogues.texts[5:])
    ragged = replace(data.dialogues, texts=texts)
    assert text_before(ragged, first_of_d2 + 1) == "System: two lines"


def test_the_hash_follows_texts_and_parts():
    data = spoken(THREE)
    split = dialogues(data)
    texts = ("other", *data.dialogues.texts[1:])
    other = replace(data, dialogues=replace(data.dialogues, texts=texts))
    swapped = {**THREE, "d1": ("valid", THREE["d1"][1]), "d2": ("train", THREE["d2"][1])}
    hashes = {split.hash, dialogues(other).hash, dialogues(spoken(swapped)).hash}
    assert len(hashes) == 3
    assert dialogues(spoken(THREE)).hash == split.hash


def test_dialogues_are_taken_in_the_given_order():
    data = spoken(THREE)
    taken: Dialogues = take_dialogues(data.dialogues, np.array([2, 0]))
    assert taken.ids == ("d3", "d1")
    assert taken.parts == ("test", "train")
    assert taken.offsets.tolist() == [0, 6, 10]
    assert taken.speakers.tolist() == [1, 0, 1, 1, 0, 1, 0, 1, 0, 1]
    assert taken.items.lengths.tolist() == [1, 2, 0, 3, 1, 3, 1, 1, 0, 2]
    assert words(data, taken.items.items) == "eafaebcgdg" + "abac"
