"""Metrics compared with values measured outside this package on the same published files."""

import numpy as np
import polars as pl
import pytest

from warmstart.data.interactions import Interactions, concatenate
from warmstart.data.readers.files import read_dataset
from warmstart.data.splits.random_cold import read_published_split
from warmstart.evaluation.evaluate import evaluate
from warmstart.evaluation.simulation_quality import simulation_quality

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def citeulike(data_root):
    data = read_dataset(data_root / "citeulike-a")
    return read_published_split(data, data_root / "citeulike-a" / "coldllm_split")


class Popular:
    """Scores an item by its number of occurrences."""

    def __init__(self, name, items, n_items):
        self.name = name
        self.counts = np.bincount(items, minlength=n_items).astype(np.float32)

    def score(self, queries, items):
        return np.tile(self.counts[items], (len(queries), 1))


class Chance:
    """Gives each pair a random score that is the same in every call."""

    name = "random"

    def score(self, queries, items):
        rows = [
            np.random.default_rng([7, user]).random(16_980, np.float32) for user in queries.users
        ]
        return np.stack(rows)[:, items]


def check(report, expected):
    """Allow .0012 for recall and NDCG: two standard errors of the small values."""
    for name, (recall, ndcg) in expected.items():
        assert report.value(name, "recall@20") == pytest.approx(recall, abs=0.0012), name
        assert report.value(name, "ndcg@20") == pytest.approx(ndcg, abs=0.0012), name


def test_random_scores(citeulike):
    expected = {"overall": (0.0008, 0.0005), "cold": (0.0058, 0.0030), "warm": (0.0012, 0.0006)}
    check(evaluate(Chance(), citeulike), expected)


def test_popularity(citeulike):
    n_items = citeulike.dataset.n_items
    report = evaluate(Popular("popular", citeulike.train_interactions.items, n_items), citeulike)
    check(report, {"overall": (0.0105, 0.0087), "warm": (0.0233, 0.0134)})
    # All cold items tie, so this is one draw from chance, 20 of 3,396: standard errors of .0007
    # (recall) and .0004 (NDCG).
    assert report.value("cold", "recall@20") == pytest.approx(20 / 3_396, abs=0.002)
    assert report.value("cold", "ndcg@20") == pytest.approx(0.0030, abs=0.0012)
    assert report.slices["cold"].facts.tie_share == 1
    assert report.slices["overall"].facts.users == 4_085
    assert report.slices["overall_any"].facts.users > 5_000


def test_popularity_oracle(citeulike):
    truth = concatenate([citeulike.cold_test, citeulike.warm_test])
    report = evaluate(Popular("oracle", truth.items, citeulike.dataset.n_items), citeulike)
    check(
        report,
        {"overall": (0.0400, 0.0329), "cold": (0.0799, 0.0480), "warm": (0.0246, 0.0141)},
    )


@pytest.fixture(scope="module")
def pairs(citeulike, data_root):
    folder = data_root / "citeulike-a" / "coldllm_split"
    frame = pl.read_csv(folder / "CiteULike_askllama_llamawidetower20_0105.csv.gz")
    users = citeulike.dataset.user_ids.known_rows(frame["user_id"].to_list())
    items = citeulike.dataset.catalogue.item_ids.known_rows(frame["item_id"].to_list())
    events = Interactions.from_arrays(users, items, provenance="coldllm")
    return events, (frame["clk/no"] == "Yes").to_numpy()


@pytest.mark.parametrize(
    ("chosen", "n_pairs", "hits", "precision", "recall", "user_recall"),
    [
        ("all", 67_920, 7_355, 0.1083, 0.1841, 0.207),
        ("yes", 58_382, 7_162, 0.1227, 0.1792, 0.202),
        ("no", 9_538, 193, 0.0202, 0.0048, None),
    ],
)
def test_published_simulated_pairs(
    citeulike, pairs, chosen, n_pairs, hits, precision, recall, user_recall
):
    events, yes = pairs
    events = events.where({"all": np.ones(len(yes), bool), "yes": yes, "no": ~yes}[chosen])
    truth = concatenate([citeulike.cold_valid, citeulike.cold_test])
    report = simulation_quality(events, truth, citeulike.train)
    quality = report.simulated
    assert (quality.pairs, quality.hits, quality.repeated) == (n_pairs, hits, 0)
    assert quality.precision == pytest.approx(precision, abs=5e-5)
    assert quality.recall == pytest.approx(recall, abs=5e-5)
    if user_recall is not None:
        assert quality.user_recall == pytest.approx(user_recall, abs=5e-4)
    assert report.base_rate == pytest.approx(0.00212, abs=5e-6)
    assert report.true_user_degree == pytest.approx(53.2, abs=0.05)
    if chosen == "all":
        _check_all(report, quality)


def _check_all(report, quality):
    assert quality.user_degree == pytest.approx(25.1, abs=0.05)
    assert round(quality.user_share * 5_551) == 5_342
    measured = [stratum.precision for stratum in report.by_audience]
    assert measured == pytest.approx([0.046, 0.089, 0.129, 0.235], abs=6e-4)
    controls = {control.name: control for control in report.controls}
    assert controls["most_active"].precision == pytest.approx(0.0176, abs=5e-5)
    assert controls["most_active"].recall == pytest.approx(0.0300, abs=3e-4)
    # These two are random draws, with a standard error of about .0003.
    assert controls["by_degree"].precision == pytest.approx(0.0047, abs=0.001)
    assert controls["random"].precision == pytest.approx(0.002, abs=0.001)
