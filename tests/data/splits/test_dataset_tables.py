"""Ratings, dialogues and the order of events survive a saved split; older folders still load."""

import json

import numpy as np
import pytest

from warmstart.data.dataset import Dataset
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.dataset_tables import dataset_tables, with_tables
from warmstart.data.splits.files import load_split, save_split
from warmstart.data.splits.random_cold import random_cold
from warmstart.errors import DataError


@pytest.fixture(scope="module", params=["timed", "untimed", "int ids"])
def rich(request) -> Dataset:
    """30 users and 20 items with ratings, many in the same second, and two dialogues."""
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 30, 400).tolist(), rng.integers(0, 20, 400).tolist()
    if request.param != "int ids":
        users, items = [f"u{user}" for user in users], [f"i{item}" for item in items]
    rows = {"user": users, "item": items, "rating": rng.integers(1, 6, 400).tolist()}
    if request.param == "timed":
        rows["when"] = rng.integers(0, 4, 400).tolist()
    turns = [
        {"speaker": "user", "text": "a", "items": items[:3]},
        {"speaker": "system", "text": "", "items": []},
    ]
    return from_frames(
        rows,
        {"item": sorted(set(items)), "title": [f"t{item}" for item in sorted(set(items))]},
        dialogues=[
            {"dialogue": "y", "turns": turns, "part": "valid"},
            {"dialogue": "x", "turns": []},
        ],
        rating="rating",
        time="when" if "when" in rows else None,
        positive_rating=3,
    )


def same(one: Dataset, other: Dataset) -> bool:
    assert one.ratings is not None
    assert other.ratings is not None
    assert one.dialogues is not None
    assert other.dialogues is not None
    return (
        one.ratings.hash == other.ratings.hash
        and one.dialogues.hash == other.dialogues.hash
        and one.interactions.order_hash == other.interactions.order_hash
        and one.positive_rating == other.positive_rating
    )


def test_a_saved_split_keeps_everything(rich, tmp_path):
    split = random_cold(rich)
    save_split(split, tmp_path / "split")
    loaded = load_split(tmp_path / "split")
    assert loaded.hash == split.hash
    assert same(loaded.dataset, rich)
    save_split(loaded, tmp_path / "split")  # a folder written before is replaced


def test_tables_give_back_what_they_were_made_of(rich):
    bare = from_frames(
        {
            "user": rich.user_ids.values,
            "item": [rich.catalogue.item_ids.values[0]] * len(rich.user_ids),
        },
        {"item": rich.catalogue.item_ids.values, "title": rich.catalogue.texts},
    )
    assert dataset_tables(bare) == {}
    again = with_tables(bare, dataset_tables(rich))
    assert rich.ratings is not None
    assert again.ratings is not None
    assert again.ratings.hash == rich.ratings.hash
    assert again.ratings.values.dtype == np.float32
    assert again.dialogues is not None
    assert rich.dialogues is not None
    assert again.dialogues.hash == rich.dialogues.hash
    assert with_tables(bare, {}) is bare
    tables = dataset_tables(rich)
    tables["ratings"] = tables["ratings"].with_columns(item=tables["ratings"]["item"].shift(1))
    with pytest.raises(DataError, match="unknown item"):
        with_tables(bare, tables)


def test_a_folder_from_before_ratings_loads(rich, tmp_path):
    split = random_cold(rich)
    save_split(split, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["positive_rating"]
    for name in ("ratings", "dialogues", "turns"):
        (tmp_path / f"{name}.parquet").unlink()
        del manifest["files"][f"{name}.parquet"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    loaded = load_split(tmp_path)
    assert loaded.hash == split.hash
    assert (loaded.dataset.ratings, loaded.dataset.dialogues) == (None, None)
    assert loaded.dataset.positive_rating is None


def test_a_changed_table_is_refused(rich, tmp_path):
    save_split(random_cold(rich), tmp_path)
    path = tmp_path / "ratings.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DataError, match=r"ratings\.parquet: changed since the split was saved"):
        load_split(tmp_path)
