"""Lists and reports are the same whether all items are scored or the best are searched for."""

import numpy as np
import polars as pl
import pytest

from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.data.sources.synthetic import synthetic
from warmstart.data.splits.random_cold import random_cold
from warmstart.evaluation.evaluate import evaluate
from warmstart.item_search import ItemSearch
from warmstart.methods import build
from warmstart.servable import Servable


@pytest.fixture(scope="module")
def split():
    return random_cold(synthetic(80, 400, rng=np.random.default_rng(0)), seed=0)


@pytest.fixture(scope="module")
def model(split):
    settings = {"backbone": {"kind": "ials", "width": 16, "epochs": 4}}
    return build("cf_only", settings).fit(split.train)


@pytest.fixture
def searched(monkeypatch):
    """Let every list be searched for, and count the calls."""
    calls, original = [], ItemSearch.top_items

    def top_items(self, *arguments, **options):
        calls.append(arguments)
        return original(self, *arguments, **options)

    def switch_on():
        monkeypatch.setitem(Servable.item_search.__kwdefaults__, "smallest", 0)
        monkeypatch.setattr(ItemSearch, "top_items", top_items)
        return calls

    return switch_on


def assert_same_lists(found, expected):
    """The same but for items whose scores differ by rounding alone."""
    assert found.select("user", "rank").equals(expected.select("user", "rank"))
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4, atol=1e-5)
    assert (found["item"] == expected["item"]).mean() > 0.99


def test_recommend(model, searched):
    users = [model.fitted.user_ids.values[row] for row in range(70)]
    options = {"k": 12, "on_unknown": "popular"}
    kinds = [{}, {"exclude_seen": False}, {"items": model.fitted.catalogue.item_ids.values[5:90]}]
    expected = [model.recommend(users, **options, **kind) for kind in kinds]
    calls = searched()
    for kind, lists in zip(kinds, expected, strict=True):
        assert_same_lists(model.recommend(users, **options, **kind), lists)
    assert len(calls) >= len(kinds)


@pytest.mark.parametrize("backbone", ["ials", "bpr", "lightgcn"])
def test_recommend_when_some_cold_items_cannot_be_scored(split, searched, backbone):
    settings = {"backbone": {"kind": backbone, "width": 16, "epochs": 4}}
    model = build("cf_only", settings).fit(split.train)
    cold = np.flatnonzero(~model.fitted.warm)
    half = cold[::2]
    users = np.random.default_rng(0).integers(0, 80, (len(half), 3))
    pairs = np.unique(np.stack([users.ravel(), np.repeat(half, 3)]), axis=1)
    clicks = Interactions.from_arrays(*pairs)
    model.fold_in(clicks)
    users = list(model.fitted.user_ids.values[:70])
    kinds = [{}, {"items": [model.fitted.catalogue.item_ids.values[row] for row in cold]}]
    expected = [model.recommend(users, 10, on_unknown="ignore", **kind) for kind in kinds]
    assert len(expected[1]) == 700
    calls = searched()
    for kind, lists in zip(kinds, expected, strict=True):
        assert_same_lists(model.recommend(users, 10, on_unknown="ignore", **kind), lists)
    assert calls


def test_recommend_by_history(model, searched):
    ids = model.fitted.catalogue.item_ids.values
    warm = [ids[row] for row in np.flatnonzero(model.fitted.warm)]
    asked = {"histories": [warm[:3], warm[10:11], warm[7:20]], "k": 9}
    expected, calls = model.recommend(**asked), searched()
    found = model.recommend(**asked)
    assert calls
    rename = {"query": "user"}
    assert_same_lists(found.rename(rename), expected.rename(rename))


def test_a_control_is_met_from_all_scores(model, searched):
    calls = searched()
    user = model.fitted.user_ids.values[int(np.argmax(np.diff(model.fitted.positives.indptr)))]
    lists = model.recommend([user], 6, control={"n_genres": 3})
    assert isinstance(lists, pl.DataFrame)
    assert not calls


def test_evaluate(model, split, searched):
    expected, calls = evaluate(model, split), searched()
    found = evaluate(model, split)
    assert calls
    for name, result in expected.slices.items():
        one = found.slices[name]
        for metric, values in result.values.items():
            np.testing.assert_allclose(one.values[metric], values, atol=0.02)
        for fact in ("answered", "scored", "short_lists"):
            assert getattr(one.facts, fact) == getattr(result.facts, fact)
    for name in ("cold", "warm"):
        assert found.value(name, "ndcg@20") == pytest.approx(expected.value(name, "ndcg@20"))


def test_few_candidates_are_scored(model):
    candidates = np.arange(len(model.fitted.catalogue), dtype=np.int32)
    assert model.item_search(candidates) is None
    assert build("popular", {}).item_search(candidates) is None


def test_no_query_and_no_candidate(model):
    candidates = np.arange(50, dtype=np.int32)
    search = model.item_search(candidates, smallest=0)
    positions, scores, n_ranked = search.top_items(Queries.of_users([0, 1]), 60)
    assert positions.shape == scores.shape == (2, 60)
    assert ((positions >= 0).sum(axis=1) == n_ranked).all()
