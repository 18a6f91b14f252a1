"""Users are found by an index on disk; methods that need all users are refused."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import polars as pl
import pytest

from warmstart.cli import main
from warmstart.data.readers.files import read_items
from warmstart.data.sources.synthetic import synthetic, synthetic_items
from warmstart.errors import ArtefactError, UnsupportedError
from warmstart.lm import LMConfig, load_encoder
from warmstart.methods import build
from warmstart.simulate.approximate_users import ApproximateUsers
from warmstart.testing.tiny_lm import tiny_encoder

pytest.importorskip("faiss", reason="needs the extra ann")


class Shop:
    def __init__(self, root):
        self.root, self.data = root, synthetic(300, 120, rng=np.random.default_rng(3))
        self.frame = synthetic_items(30, rng=np.random.default_rng(4))
        self.frame.write_ndjson(root / "new.jsonl")
        catalogue = self.data.catalogue
        self.new = read_items(self.frame, catalogue.text_columns, catalogue.item_ids)
        texts = (*catalogue.texts, *self.new.texts)
        tiny_encoder(root / "lm", sorted({word for text in texts for word in text.split()}))
        config = LMConfig(source=str(root / "lm"))
        self.encoder = load_encoder(config, folder=root / "cache")
        self.model = self.fitted("text_ridge", {"rank": 12})
        self.model.save(root / "model")

    def fitted(self, method, settings):
        return build(method, settings).fit(self.data, encoder=self.encoder)

    def simulate(self, *options):
        out, err = io.StringIO(), io.StringIO()
        arguments = ["simulate", self.root / "model", "--items", self.root / "new.jsonl"]
        arguments += ["--encoder", self.root / "lm", "-k", 5, *options]
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code, err.getvalue()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Shop(tmp_path_factory.mktemp("shop"))


def test_reading_every_list_simulates_the_same_users(shop, tmp_path):
    users = ApproximateUsers(shop.model, tmp_path / "index", n_probes=1000)
    assert users.simulate(shop.new, 7).equals(shop.model.simulate(shop.new, 7))
    assert users.simulate(shop.new, 1000).equals(shop.model.simulate(shop.new, 1000))
    assert users.recall(shop.new, 7, n_items=10) == 1
    assert users.recall(shop.new.take(np.arange(0)), 7, n_items=10) == 1


def test_an_index_of_an_earlier_fit_is_refused(shop, tmp_path):
    ApproximateUsers(shop.model, tmp_path / "index")
    other = shop.fitted("text_ridge", {"rank": 12, "l2": 9})
    with pytest.raises(ArtefactError, match="of an earlier fit"):
        ApproximateUsers(other, tmp_path / "index")


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("text_ridge", {}, "no vectors"),
        ("text_ridge", {"rank": 8, "items_per_user": 5}, "no vectors"),
        ("popular", {}, "no vectors"),
        (
            "filterllm",
            {"ridge": {"rank": 8}, "width": 8, "epochs": 0, "backbone": {"kind": "ials"}},
            "probabilities among all users",
        ),
    ],
)
def test_methods_without_vectors_or_with_probabilities_are_refused(
    method, settings, message, shop, tmp_path
):
    model = build(method, settings)
    model = model.fit(shop.data) if method == "popular" else shop.fitted(method, settings)
    with pytest.raises(UnsupportedError, match=message):
        ApproximateUsers(model, tmp_path / "index")


def test_the_command_builds_an_index_uses_it_again_and_prints_its_recall(shop, tmp_path):
    options = ("--approximate", tmp_path / "index", "--run", tmp_path / "run")
    for name in ("first", "again"):
        code, err = shop.simulate(*options, "--probes", 1000, "--json", tmp_path / name)
        assert code == 0
        assert err.splitlines()[-1] == "approximate search: 100.0% of the exact users were found"
    first, again = (json.loads((tmp_path / name).read_text()) for name in ("first", "again"))
    assert first["results"] == again["results"]
    exact = shop.model.simulate(shop.new, 5)
    assert pl.DataFrame(first["results"])["user"].to_list() == exact["user"].to_list()
    code, err = shop.simulate(*options, "--probes", 1)  # kept results are of other settings
    assert code != 0
    assert "other settings" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--probes", 3], "--probes applies with --approximate only"),
        (["--approximate", "x", "--ray", "local"], "exclude each other"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, message, shop):
    code, err = shop.simulate(*options)
    assert code != 0
    assert message in err
