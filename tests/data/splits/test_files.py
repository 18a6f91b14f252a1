"""Splits of every protocol on disk; damaged folders of cold items: ``test_cold.py``."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.data.splits.made import ordered, rated, spoken
from tests.data.splits.test_cold import edit_manifest, rewrite
from warmstart.data.ratings import Ratings
from warmstart.data.splits.dialogues import dialogues
from warmstart.data.splits.files import load_split, save_split
from warmstart.data.splits.labels import labels
from warmstart.data.splits.next_item import next_item
from warmstart.data.splits.random_cold import random_cold
from warmstart.data.splits.time_cold import time_cold
from warmstart.data.splits.user_random import user_random
from warmstart.data.splits.windows import windows
from warmstart.errors import DataError

HISTORIES = {
    "u": "abcdefgh",
    "v": "hgfedcba",
    "w": "acegbdfh",
    "x": "abd",
    "y": "hacb",
    "z": "ab",
}
RATED = (
    "u a 5 1,u b 2 2,u c 4 3,u d 3 4,u e 5 5,u f 1 6,u g 5 7,u h 4 8,u i 2 9,u j 5 10,"
    "v a 1 1,v b 5 2,v c 2 3"
)
SPOKEN = {
    "d1": ("train", ["u a", "s b", "u", "s ac"]),
    "d2": ("valid", ["s", "u b", "s cd"]),
    "d3": ("test", ["s e", "u af", "s", "s aeb", "u c", "s gdg"]),
    "d4": ("train", []),
}


@pytest.fixture(
    params=[
        "time-cold",
        "random-cold",
        "last",
        "last uni2",
        "cold users",
        "few shot",
        "cross domain",
        "cold items",
        "by time",
        "by time pop1",
        "user-random",
        "windows",
        "labels",
        "dialogues",
    ]
)
def split(request, timed):
    data = ordered(HISTORIES, items="mnop")
    makers = {
        "time-cold": lambda: time_cold(timed),
        "random-cold": lambda: random_cold(timed),
        "last": lambda: next_item(data),
        "last uni2": lambda: next_item(data, candidates="uni2"),
        "cold users": lambda: next_item(data, cold_users=3),
        "few shot": lambda: next_item(data, few_shot=2),
        "cross domain": lambda: next_item(data, cross_domain=replace(data, name="other")),
        "cold items": lambda: next_item(timed, cold_items=0.3),
        "by time": lambda: next_item(timed, by="time", targets="each"),
        "by time pop1": lambda: next_item(timed, by="time", candidates="pop1"),
        "user-random": lambda: user_random(data),
        "windows": lambda: windows(data, n_history=2, n_future=2),
        "labels": lambda: labels(rated(RATED), threshold=5, fractions=(0.5, 0.7)),
        "dialogues": lambda: dialogues(spoken(SPOKEN, items="xyz")),
    }
    return makers[request.param]()


def test_saved_and_loaded_split_is_the_same(split, tmp_path):
    save_split(split, tmp_path / "split")
    again = load_split(tmp_path / "split")
    assert type(again) is type(split)
    assert again.hash == split.hash
    assert again.summary() == split.summary()
    assert again.train.hash == split.train.hash
    assert again.train.positive_rating == split.train.positive_rating
    for column in ("ratings", "dialogues"):
        ours, theirs = getattr(split.train, column), getattr(again.train, column)
        assert (ours is None) == (theirs is None)
        assert ours is None or ours.hash == theirs.hash
    save_split(again, tmp_path / "split")  # a split may be replaced
    assert {path.name for path in tmp_path.iterdir()} == {"split"}


def test_loaded_tasks_are_the_same(split, tmp_path):
    save_split(split, tmp_path / "split")
    again = load_split(tmp_path / "split")
    for part in ("valid", "test"):
        for mask in split.masks:
            ours, theirs = split.tasks(part, mask), again.tasks(part, mask)
            assert list(ours) == list(theirs)
            for name, task in ours.items():
                assert task.hash == theirs[name].hash
                assert np.array_equal(task.groups, theirs[name].groups)


def test_ratings_go_with_every_split(tmp_path):
    data = ordered(HISTORIES)
    ratings = Ratings(
        np.array([0, 0, 1], np.int32),
        np.array([0, 7, 0], np.int32),
        np.array([4.5, 1, 5], np.float32),
        np.array([0, 7, 7], np.int64),
    )
    split = next_item(replace(data, ratings=ratings, positive_rating=4.5))
    save_split(split, tmp_path / "split")
    again = load_split(tmp_path / "split")
    assert again.dataset.ratings.hash == ratings.hash
    assert again.dataset.positive_rating == 4.5
    assert again.train.ratings.values.tolist() == [4.5]


def test_folders_of_version_1_are_read(timed, tmp_path):
    for split in (random_cold(timed), time_cold(timed)):
        save_split(split, tmp_path / "split")
        path = tmp_path / "split" / "manifest.json"
        manifest = json.loads(path.read_text())
        assert manifest["version"] == 2
        of_version_1 = manifest | {"version": 1}
        for key in ("candidates", "positive_rating"):
            del of_version_1[key]
        path.write_text(json.dumps(of_version_1))
        assert load_split(tmp_path / "split").hash == split.hash


def change(folder: Path, table: str, columns: dict) -> None:
    rewrite(folder, lambda frame: frame.with_columns(**columns), table)


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (lambda f: edit_manifest(f, version=3), "version 3; this version of warmstart reads 1 and"),
        (lambda f: edit_manifest(f, protocol="labels"), "not a complete split"),
        (lambda f: edit_manifest(f, protocol="time-cold"), "not a complete split"),
        (lambda f: edit_manifest(f, protocol="user-random"), "the content has hash"),
        (lambda f: edit_manifest(f, candidates=None), "the content has hash"),
        (lambda f: edit_manifest(f, candidates="pop2"), "the content has hash"),
        (
            lambda f: change(f, "interactions", {"part": pl.lit("dev")}),
            "part 'dev'; allowed: train, valid, test, history",
        ),
        (
            lambda f: change(f, "users", {"cold": pl.lit(value=True)}),
            r"cold user\(s\) have a training interaction",
        ),
        (
            lambda f: change(f, "candidates", {"items": pl.lit(["a", "b", "c"])}),
            r"target\(s\) of valid are not once a candidate",
        ),
        (
            lambda f: change(f, "candidates", {"part": pl.lit("test")}),
            "not a complete split",
        ),
    ],
)
def test_corrupt_and_changed_splits_are_refused(tmp_path, breaking, message):
    folder = tmp_path / "split"
    save_split(next_item(ordered(HISTORIES, items="mnop"), candidates="uni2"), folder)
    breaking(folder)
    with pytest.raises(DataError, match=message):
        load_split(folder)
