"""``warmstart split`` with the protocols that ask by history."""

import json

import numpy as np
import polars as pl
import pytest

from tests.cli.test_commands import done, run
from warmstart.data.readers.files import read_dataset
from warmstart.data.splits.files import load_split
from warmstart.data.splits.next_item import next_item
from warmstart.data.splits.user_random import user_random
from warmstart.data.splits.windows import windows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 users with 11 or 12 of 30 items each, at random times."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("ordered")
    lengths = np.tile([11, 12], 20)
    items = np.concatenate([rng.permutation(30)[:length] for length in lengths])
    pl.DataFrame(
        {
            "user": np.repeat(np.arange(40), lengths),
            "item": items,
            "timestamp": 1_700_000_000 + rng.permutation(len(items)),
        }
    ).write_csv(root / "interactions.csv")
    pl.DataFrame({"item": range(30), "title": [f"title {i}" for i in range(30)]}).write_csv(
        root / "items.csv"
    )
    return root


@pytest.mark.parametrize(
    ("options", "make"),
    [
        ("next-item", next_item),
        (
            "next-item --by time --targets each --fractions 0.6,0.8",
            lambda data: next_item(data, by="time", targets="each", fractions=(0.6, 0.8)),
        ),
        (
            "next-item --candidates pop9 --cold-users 11 --seed 3",
            lambda data: next_item(data, candidates="pop9", cold_users=11, seed=3),
        ),
        ("next-item --few-shot 9", lambda data: next_item(data, few_shot=9)),
        ("next-item --cold-items 0.2", lambda data: next_item(data, cold_items=0.2)),
        ("user-random --seed 5", lambda data: user_random(data, seed=5)),
        (
            "windows --n-history 3 --n-future 2 --stride 1",
            lambda data: windows(data, n_history=3, n_future=2, stride=1),
        ),
    ],
)
def test_a_split_is_made_saved_and_described(folder, tmp_path, options, make):
    out, described = tmp_path / "split", tmp_path / "split.json"
    text = done("split", folder, "--protocol", *options.split(), "--out", out, "--json", described)
    made = make(read_dataset(folder))
    assert load_split(out).hash == made.hash
    assert made.hash in text
    written = json.loads(described.read_text())
    assert written["data"]["split_hash"] == made.hash
    assert written["data"]["protocol"] == options.split()[0]
    assert written["results"][0]["slices"].keys() == made.summary()["slices"].keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("time-cold --few-shot 5", "few_shot = 5 does not apply to the protocol 'time-cold'"),
        ("user-random --by time", "by = 'time' does not apply to the protocol 'user-random'"),
        ("next-item --targets each", "targets = 'each' does not apply to by = 'last'"),
        ("next-item --cold-users 12", "next-item leaves train empty"),
        ("labels", "has no ratings"),
        ("dialogues", "has no dialogues"),
        ("next-item --candidates uni40", "a user has only 19 items left to draw negatives from"),
    ],
)
def test_wrong_options_are_one_line(folder, tmp_path, options, message):
    result = run("split", folder, "--protocol", *options.split(), "--out", tmp_path / "split")
    assert result.code == 2
    assert message in result.err
    assert sum(line.startswith("warmstart: ") for line in result.err.splitlines()) == 1
