"""``warmstart split`` with the protocols that ask by history."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from tests.cli.test_commands import done, run
from warmstart.data.readers.files import read_dataset
from warmstart.data.splits.files import load_split
from warmstart.data.splits.next_item import next_item
from warmstart.data.splits.user_random import user_random
from warmstart.data.splits.windows import windows
from warmstart.methods import load_model


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


@pytest.mark.parametrize("protocol", ["next-item", "user-random", "windows --n-history 3"])
def test_every_protocol_has_reports(folder, tmp_path, protocol):
    """Two masks, so two reports and two JSON files."""
    split, names = tmp_path / "split", (("--json", "x.json"), ("--report", "x.html"))
    options = "--n-future 2 --stride 1" if protocol.startswith("windows") else ""
    done("split", folder, "--protocol", *protocol.split(), *options.split(), "--out", split)
    files = [part for name, file in names for part in (name, tmp_path / file)]
    done(
        "compare", split, "--methods", "popular,item_knn", "--mask", "all", "--mask", "none", *files
    )
    for mask in ("all", "none"):
        assert json.loads((tmp_path / f"x.mask-{mask}.json").read_text())["results"]
        page = (tmp_path / f"x.mask-{mask}.html").read_text()
        assert {"all": "every known positive", "none": "nothing is left out"}[mask] in page
        assert "overall slice" not in page


def test_labels_have_a_report(tmp_path):
    rng = np.random.default_rng(0)
    pairs = np.stack(np.meshgrid(np.arange(20), np.arange(15)), axis=-1).reshape(-1, 2)
    pairs = rng.permutation(pairs)
    columns = {"user": pairs[:, 0], "item": pairs[:, 1], "rating": rng.integers(1, 6, len(pairs))}
    data = tmp_path / "data"
    data.mkdir()
    frame = pl.DataFrame({**columns, "timestamp": np.arange(len(pairs))})
    frame.write_csv(data / "interactions.csv")
    pl.DataFrame({"item": range(15)}).write_csv(data / "items.csv")
    (data / "dataset.toml").write_text("positive_rating = 4\n")
    split = tmp_path / "split"
    done("split", data, "--protocol", "labels", "--out", split)
    done("compare", split, "--methods", "logistic_ctr", "--report", tmp_path / "x.html")
    assert "auc" in (tmp_path / "x.html").read_text()
    for threshold, lacking in (("9", "liked"), ("1", "disliked")):
        result = run(
            *("split", data, "--protocol", "labels", "--threshold", threshold),
            *("--out", tmp_path / "other"),
        )
        assert result.code == 2
        assert f"leaves no {lacking} item; the ratings range from 1 to 5" in result.err


def test_histories_take_the_type_of_the_items(folder, tmp_path):
    done("fit", folder, "--method", "item_knn", "--no-choose", "--out", tmp_path / "model")
    table = ("recommend", tmp_path / "model", "-k", "3", "--out", tmp_path / "top.csv")
    done(*table, "--history", "3,17", "--history", "5")
    found = pl.read_csv(tmp_path / "top.csv")
    assert found["query"].to_list() == [0, 0, 0, 1, 1, 1]
    model = load_model(tmp_path / "model")
    assert (
        found["item"].to_list() == model.recommend(histories=[[3, 17], [5]], k=3)["item"].to_list()
    )
    result = run(*table, "--history", "3,x")
    assert result.code == 2
    assert "--history" in result.err
    assert "'x'" in result.err


def test_another_folder_of_data_is_the_other_domain(folder, tmp_path):
    other = tmp_path / "books"
    shutil.copytree(folder, other)
    out = tmp_path / "split"
    done("split", folder, "--protocol", "next-item", "--cross-domain", other, "--out", out)
    made = load_split(out)
    assert made.hash == next_item(read_dataset(folder), cross_domain=read_dataset(other)).hash
    assert made.train.user_ids.values[40] == "books/0"
