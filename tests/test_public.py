"""The public interface: names, light imports, and the whole workflow once."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import warmstart as ws
from warmstart.testing.tiny_lm import tiny_encoder

HEAVY = ["numpy", "torch", "numba", "polars", "transformers", "peft", "matplotlib", "typer"]


@pytest.mark.parametrize("name", sorted(ws.__all__))
def test_every_public_name_exists(name):
    assert getattr(ws, name) is not None
    assert name in dir(ws)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="recomend"):
        _ = ws.recomend


def test_importing_the_package_imports_no_heavy_library():
    code = f"import sys, warmstart\nprint([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_data_and_the_table_of_methods_need_no_torch():
    code = (
        "import sys, warmstart as ws\n"
        "ws.Dataset, ws.Split, ws.read_items, ws.METHODS, ws.Recommender, ws.write_report\n"
        "print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_evaluate_is_a_plain_function():
    assert inspect.isfunction(ws.evaluate)
    assert next(iter(inspect.signature(ws.evaluate).parameters)) == "model"


@pytest.fixture
def frames():
    """A click log and items as mappings, with column names that differ from ours."""
    data = ws.synthetic(120, 160, rng=np.random.default_rng(0))
    users = data.user_ids.take(data.interactions.users)
    items = data.catalogue.item_ids.take(data.interactions.items)
    log = {"uid": users, "iid": items, "ts": data.interactions.times.tolist()}
    columns = data.catalogue.columns
    catalogue = {
        "iid": data.catalogue.item_ids.values,
        "title": columns["title"].to_list(),
        "abstract": columns["text"].to_list(),
    }
    return log, catalogue


@pytest.fixture
def lm(frames, tmp_path, monkeypatch):
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "cache"))
    texts = [*frames[1]["title"], *frames[1]["abstract"]]
    words = sorted({word for text in texts for word in text.split()})
    return ws.load_encoder(ws.LMConfig(source=str(tiny_encoder(tmp_path / "lm", words))))


def test_the_whole_workflow(frames, lm, tmp_path):
    """The workflow of a user: frames in, frames out, external ids everywhere."""
    log, items = frames
    data = ws.from_frames(log, items, user="uid", item="iid", time="ts", text=["title", "abstract"])
    split = ws.split(data, protocol="time-cold", cutoff="2024-09-01")
    model = ws.FilterLLM(
        backbone={"kind": "lightgcn", "width": 16, "epochs": 2}, users_per_item=20
    ).fit(split.train, encoder=lm, rng=7)
    new_items = {"item": ["new-1", "new-2"], "title": ["Roman roads", "Sourdough"]}
    added = model.add_items(new_items)
    likely = model.simulate(added["item"].to_list(), k=20)
    top = model.recommend([log["uid"][0]], k=20, exclude_seen=True, on_unknown="raise")
    report = ws.evaluate(
        model, split, metrics=["recall@20", "ndcg@20"], slices=["cold", "warm", "overall"]
    )
    model.save(tmp_path / "x")
    again = ws.load_model(tmp_path / "x", encoder=lm)

    assert added["item"].to_list() == ["new-1", "new-2"]
    assert likely.columns == ["item", "user", "weight", "rank", "provenance"]
    assert len(likely) == 40
    assert top.columns == ["user", "item", "score", "rank", "is_cold"]
    assert report.metrics == ("recall@20", "ndcg@20")
    assert again.recommend([log["uid"][0]], k=20).equals(top)
