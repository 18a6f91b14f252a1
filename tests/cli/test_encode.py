"""``warmstart encode`` on this machine alone; tests/distributed has it on others."""

import json

import numpy as np
import polars as pl
import pytest

from tests.cli.test_commands import done, own_cache, run, shop  # noqa: F401
from warmstart.data.readers.files import read_dataset
from warmstart.lm import LMConfig, load_encoder


@pytest.fixture(autouse=True)
def fresh_cache(own_cache, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "cache"))


def test_a_folder_is_encoded_once(shop, tmp_path):  # noqa: F811
    out, report = tmp_path / "v.parquet", tmp_path / "r.json"
    given = ("encode", shop.data, "--encoder", shop.lm)
    text = done(*given, "--out", out, "--json", report)
    data = read_dataset(shop.data)
    n = len(set(data.catalogue.texts))
    assert text.startswith(f"{n} of {n} texts encoded, in ")
    written = json.loads(report.read_text())
    assert written["results"] == [{"items": len(data.catalogue), "distinct_texts": n, "new": n}]
    table = pl.read_parquet(out)
    assert table["item"].to_list() == data.catalogue.item_ids.values
    expected = load_encoder(LMConfig(source=str(shop.lm)), use_cache=False)
    found = np.stack(table["vector"].to_list())
    np.testing.assert_array_equal(found, expected.encode(data.catalogue.texts))
    assert done(*given).startswith(f"0 of {n} texts encoded")


def test_a_fit_finds_the_vectors_and_a_file_needs_the_model(shop, tmp_path):  # noqa: F811
    done("encode", shop.split, "--encoder", shop.lm)
    model = ("--model", shop.model, "--encoder", shop.lm)
    assert done("encode", shop.data, *model).startswith("0 of")
    assert done("encode", shop.new, *model).startswith("2 of 2 texts")
    found = run("encode", shop.new, "--encoder", shop.lm)
    assert found.code == 2
    assert "is a file of items; give --model too" in found.err


def test_how_many_are_new_is_said_first(shop):  # noqa: F811
    found = run("encode", shop.data, "--encoder", shop.lm)
    lines = found.err.splitlines()
    assert any(line.startswith("encode ") and " new of " in line for line in lines)


@pytest.mark.parametrize(
    ("option", "of"),
    [("--workers=2", "encode"), ("--workers=2", "simulate"), ("--by=users", "simulate")],
)
def test_options_of_ray_need_it(shop, option, of):  # noqa: F811
    given = (shop.data,) if of == "encode" else (shop.model, "--items", shop.new)
    found = run(of, *given, option)
    assert found.code == 2
    assert f"{option.partition('=')[0]} applies with --ray only" in found.err
