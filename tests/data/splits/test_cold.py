"""Slices against brute-force versions over sets of pairs, and splits on disk."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from warmstart.data.interactions import Interactions
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.cold import SLICES, ColdSplit
from warmstart.data.splits.files import load_split, save_split
from warmstart.data.splits.parts import build_split
from warmstart.data.splits.random_cold import random_cold
from warmstart.data.splits.time_cold import time_cold
from warmstart.data.tasks import RankingTask
from warmstart.errors import ConfigError, DataError


def pairs(events: Interactions) -> set[tuple[int, int]]:
    return set(zip(events.users.tolist(), events.items.tolist(), strict=True))


def cells(matrix, users: np.ndarray) -> set[tuple[int, int]]:
    rows, items = matrix.nonzero()
    return set(zip(users[rows].tolist(), items.tolist(), strict=True))


@pytest.fixture(scope="module", params=["random-cold", "time-cold"])
def split(request, timed) -> ColdSplit:
    return random_cold(timed) if request.param == "random-cold" else time_cold(timed)


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("mask", ["all", "train"])
def test_a_slice_is_what_the_protocol_says(split, part, name, mask):
    task = split.slice(part, name, mask)
    cold, warm = pairs(split.parts[f"cold_{part}"]), pairs(split.parts[f"warm_{part}"])
    truth = {"cold": cold, "warm": warm, "overall": cold | warm}[name]
    users = {user for user, _ in truth}
    if name == "overall" and split.protocol == "random-cold":
        users = {user for user, _ in cold} & {user for user, _ in warm}
    truth = {pair for pair in truth if pair[0] in users}
    train = pairs(split.train_interactions)
    if mask == "train":
        seen = train
    elif split.protocol == "random-cold":
        seen = pairs(split.dataset.interactions)
    else:
        earlier = pairs(split.warm_valid) | pairs(split.cold_valid)
        seen = train | (earlier if part == "test" else set())
    masked = {pair for pair in seen - truth if pair[0] in users}

    assert task.queries.users.tolist() == sorted(users)
    assert cells(task.relevance, task.queries.users) == truth
    assert cells(task.masked, task.queries.users) == masked
    assert task.relevance.dtype == task.masked.dtype == bool
    assert task.relevance.shape == task.masked.shape == (len(users), split.dataset.n_items)
    warm_items = set(split.train_interactions.items.tolist())
    cold_items = set(split.cold_candidates[part].tolist())
    expected = {"cold": cold_items, "warm": warm_items, "overall": cold_items | warm_items}[name]
    assert task.candidates.tolist() == sorted(expected)
    assert {item for _, item in truth} <= expected
    assert task.queries.users.dtype == task.candidates.dtype == np.int32


def test_validation_reads_no_test_label(split):
    held = replace(
        split,
        warm_test=split.warm_test.where(np.arange(0)),
        cold_test=split.cold_test.where(np.arange(0)),
        dataset=split.dataset.with_interactions(split.train_interactions),
    )
    for name, task in held.validation().items():
        full = split.validation()[name]
        assert np.array_equal(task.queries.users, full.queries.users)
        assert np.array_equal(task.candidates, full.candidates)
        assert (task.masked != full.masked).nnz == (task.relevance != full.relevance).nnz == 0


def planted() -> ColdSplit:
    """A random-cold split whose cold test items are more popular than those of validation.

    300 users have 10 of 24 warm items each. The cold items v1 to v6 are those of validation, with
    30, 25, ... 5 users; t1 to t6 are those of test, with 60, 55, ... 35 users.
    """
    rng = np.random.default_rng(0)
    sizes = {f"v{n}": 35 - 5 * n for n in range(1, 7)} | {f"t{n}": 65 - 5 * n for n in range(1, 7)}
    rows = [(user, f"w{item:02d}") for user in range(300) for item in rng.permutation(24)[:10]]
    rows += [
        (int(user), item) for item, size in sizes.items() for user in rng.permutation(300)[:size]
    ]
    users, items = (list(column) for column in zip(*rows, strict=True))
    data = from_frames({"user": users, "item": items})
    names = np.array(data.catalogue.item_ids.take(data.interactions.items))
    kind = np.array([name[0] for name in names])
    draw = rng.random(len(names))
    warm = kind == "w"
    parts = {
        "train": warm & (draw < 0.8),
        "warm_valid": warm & (draw >= 0.8) & (draw < 0.9),
        "warm_test": warm & (draw >= 0.9),
        "cold_valid": kind == "v",
        "cold_test": kind == "t",
    }
    cold = np.unique(data.interactions.items[~warm])
    return build_split(data, "random-cold", parts, {"valid": cold, "test": cold}, {"left_out": {}})


def mean_recall(task: RankingTask, scores: np.ndarray, k: int) -> float:
    """Recall of one score per item; nothing is masked among cold candidates."""
    best = task.candidates[np.argsort(-scores[task.candidates], kind="stable")[:k]]
    relevance = task.relevance.toarray()
    return float((relevance[:, best].sum(axis=1) / relevance.sum(axis=1)).mean())


def test_validation_chooses_among_its_own_cold_items():
    """Of two scorers, the one that favours popular items is better; the old rule chose the other.

    Both know the popularity of cold items. With the cold items of test among the candidates, the
    most popular six are all of test, so the scorer that ranks them first finds nothing.
    """
    split = planted()
    popularity = np.bincount(split.dataset.interactions.items).astype(float)
    scorers = {"popular first": popularity, "popular last": -popularity}

    def choice(task: RankingTask) -> str:
        recalls = {name: mean_recall(task, scores, 3) for name, scores in scorers.items()}
        return max(recalls, key=recalls.__getitem__)

    assert choice(split.slice("test", "cold", "train")) == "popular first"
    assert choice(split.slice("valid", "cold", "train")) == "popular last"  # as published
    assert choice(split.validation()["cold"]) == "popular first"


def test_validation_ranks_warm_items_and_its_own_cold_ones(split):
    valid, own = split.validation(), np.unique(split.cold_valid.items)
    if split.protocol == "time-cold":
        own = np.sort(split.cold_candidates["valid"])
    warm = np.unique(split.train_interactions.items)
    assert valid["cold"].candidates.tolist() == own.tolist()
    assert valid["warm"].candidates.tolist() == warm.tolist()
    assert valid["overall"].candidates.tolist() == np.union1d(own, warm).tolist()
    assert not np.isin(split.cold_test.items, valid["overall"].candidates).any()
    for name in SLICES:  # the published form has the same users and truth
        published = split.slice("valid", name, "train")
        assert np.array_equal(valid[name].queries.users, published.queries.users)
        assert (valid[name].relevance != published.relevance).nnz == 0
        assert (valid[name].masked != published.masked).nnz == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "cold", "all"), "part 'train'; allowed: valid, test"),
        (("test", "new", "all"), "slice 'new'; allowed: cold, warm, overall"),
        (("test", "cold", "none"), "mask 'none'; allowed: all, train"),
    ],
)
def test_unknown_words_are_named(split, arguments, message):
    with pytest.raises(ConfigError, match=message):
        split.slice(*arguments)


def test_saved_and_loaded_split_is_the_same(split, tmp_path):
    save_split(split, tmp_path / "split")
    again = load_split(tmp_path / "split")
    assert again.hash == split.hash
    assert again.summary() == split.summary()
    assert again.dataset.catalogue.columns.equals(split.dataset.catalogue.columns)
    for name, part in split.parts.items():
        assert np.array_equal(again.parts[name].users, part.users)
        assert again.parts[name].hash == part.hash
    save_split(again, tmp_path / "split")  # a split may be replaced
    assert {path.name for path in tmp_path.iterdir()} == {"split"}


def test_hash_follows_content_and_not_how_it_came_about(split):
    assert replace(split, manifest={}).hash == split.hash
    assert replace(split, cold_valid=split.cold_test, cold_test=split.cold_valid).hash != split.hash
    permuted = split.dataset.with_permuted_texts(np.random.default_rng(0))
    assert replace(split, dataset=permuted).hash != split.hash


def edit_manifest(folder, **changes) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def flip_last_byte(path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def rewrite(folder, change, table="interactions") -> None:
    """Change a table and update the file hash, so that only the content check fails."""
    import hashlib

    path = folder / f"{table}.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_manifest(folder, files=files | {path.name: digest})


MOVE = pl.when(pl.col("part") == "cold_test").then(None).otherwise(pl.col("part")).alias("part")


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (lambda f: (f / "manifest.json").unlink(), "not a saved split"),
        (lambda f: (f / "manifest.json").write_text("{"), "not JSON"),
        (lambda f: edit_manifest(f, format="else"), "format 'else'; allowed: 'warmstart-split'"),
        (lambda f: edit_manifest(f, version=99), "format version 99"),
        (lambda f: edit_manifest(f, extra=1), "extra: there is no such setting"),
        (lambda f: edit_manifest(f, files={}), "not a complete split"),
        (lambda f: edit_manifest(f, files={"../x": "0"}), "is missing"),
        (
            lambda f: (f / "users.parquet").unlink(),
            r"users\.parquet: the file of the split is miss",
        ),
        (lambda f: flip_last_byte(f / "items.parquet"), r"items\.parquet: changed since the split"),
        (lambda f: edit_manifest(f, hash="0" * 64), "its manifest states 000"),
        (lambda f: edit_manifest(f, overall_users="any"), "the content has hash"),
        (
            lambda f: rewrite(f, lambda t: t.with_columns(MOVE)),
            "the split is broken: .* in no part",
        ),
        (lambda f: rewrite(f, lambda t: t.drop("part")), "not a complete split"),
        (lambda f: rewrite(f, lambda t: t.with_columns(user=pl.lit("x"))), "unknown user id"),
    ],
)
def test_corrupt_foreign_and_changed_splits_are_refused(timed, tmp_path, breaking, message):
    folder = tmp_path / "split"
    save_split(random_cold(timed), folder)
    breaking(folder)
    with pytest.raises(DataError, match=message):
        load_split(folder)


def test_a_folder_that_is_no_split_is_not_overwritten(timed, tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(DataError, match="other content"):
        save_split(random_cold(timed), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "precious"
    with pytest.raises(DataError, match="not a saved split"):
        load_split(tmp_path)


def test_a_failed_save_leaves_the_old_split(timed, tmp_path):
    split = random_cold(timed)
    save_split(split, tmp_path / "split")
    simulated = replace(timed.interactions, sources=("some simulator",))
    with pytest.raises(DataError, match=r"provenance \['some simulator'\]"):
        save_split(replace(split, dataset=timed.with_interactions(simulated)), tmp_path / "split")
    assert load_split(tmp_path / "split").hash == split.hash
