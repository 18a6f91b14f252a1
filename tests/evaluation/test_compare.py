"""Comparison of several reports, and its JSON and text forms."""

import json
from dataclasses import replace

import numpy as np
import pytest

from warmstart.errors import ConfigError, DataError
from warmstart.evaluation.compare import Resampling, compare
from warmstart.evaluation.comparison import Comparison, Timing
from warmstart.evaluation.evaluate import evaluate
from warmstart.evaluation.significance import holm, intervals, paired_intervals

FEW = Resampling(n_resamples=300)


@pytest.fixture(scope="module")
def reports(split, scorers):
    return [
        evaluate(scorers["good"], split),
        evaluate(scorers["noisy"], split),
        evaluate(scorers["chance"], split, is_control=True),
    ]


@pytest.fixture(scope="module")
def comparison(reports):
    timings = [Timing("good", "fit", 1.5)]
    return compare(reports, against="noisy", timings=timings, resampling=FEW)


def test_rows_are_the_reports_numbers_with_intervals(reports, comparison):
    assert len(comparison.results) == 3 * 3 * 6
    by_name = {report.method: report for report in reports}
    for row in comparison.results:
        result = by_name[row.method].slices[row.slice]
        assert row.value == pytest.approx(result.mean(row.metric), rel=1e-12)
        assert row.low <= row.value <= row.high
        assert row.users == len(result.users)
        assert row.control == (row.method == "chance")
    values = by_name["good"].slices["cold"].values["ndcg@20"][:, None]
    direct = intervals(values, n_resamples=300)[0]
    ours = comparison.find("good", "cold", "ndcg@20")
    assert (ours.low, ours.high) == pytest.approx((direct.low, direct.high))


def test_the_other_user_set_stays_apart(comparison):
    assert {row.slice for row in comparison.results} == {"cold", "warm", "overall"}
    assert {row.slice for row in comparison.other_results} == {"overall_any"}


def test_differences_are_paired_and_corrected(reports, comparison):
    good, noisy, _ = (report.slices["warm"].values["recall@20"][:, None] for report in reports)
    found = {(d.method, d.slice, d.metric): d for d in comparison.differences}
    assert {key[0] for key in found} == {"good", "chance"}
    ours = found["good", "warm", "recall@20"]
    direct = paired_intervals(good, noisy, n_resamples=300)[0]
    assert (ours.value, ours.low, ours.high) == pytest.approx(
        (direct.value, direct.low, direct.high)
    )
    raw = np.array([difference.p for difference in comparison.differences])
    np.testing.assert_allclose([d.p_holm for d in comparison.differences], holm(raw))
    clear = found["good", "overall", "ndcg@20"]
    assert clear.low > 0
    assert clear.p_holm < 0.05
    assert 0 < clear.detectable < clear.value


def test_without_a_baseline_there_are_no_differences(reports):
    assert compare(reports, resampling=FEW).differences == ()
    assert compare(reports[:1], against="good", resampling=FEW).differences == ()


def test_seeds_are_averaged_per_user_and_shown_one_by_one(split, scorers, reports):
    rng = np.random.default_rng(5)
    runs = []
    for seed in (7, 8):
        scores = scorers["good"].scores + rng.normal(size=scorers["good"].scores.shape)
        model = replace(scorers["good"], name="learned", scores=scores.astype(np.float32))
        runs.append(evaluate(model, split, seed=seed))
    table = compare([*runs, reports[1]], against="noisy", resampling=FEW)
    row = table.find("learned", "cold", "ndcg@20")
    assert row.seeds == (7, 8)
    assert row.seed_values == tuple(run.value("cold", "ndcg@20") for run in runs)
    assert row.value == pytest.approx(np.mean(row.seed_values))
    assert table.find("noisy", "cold", "ndcg@20").seeds == (None,)
    assert sorted({row.seed for row in table.results if row.method == "learned"}) == [7, 8]
    assert len([d for d in table.differences if d.metric == "ndcg@20"]) == 3
    micro = table.find("learned", "cold", "micro_recall@20")
    assert micro.value == pytest.approx(np.mean(micro.seed_values))


def test_json_has_the_documented_shape_and_comes_back(comparison):
    text = comparison.to_json()
    data = json.loads(text)
    assert data["command"] == "compare"
    assert {"name", "hash", "protocol"} <= set(data["data"])
    assert {"method", "slice", "metric", "value", "low", "high", "users", "seed"} <= set(
        data["results"][0]
    )
    assert data["timings"][0] == {"method": "good", "stage": "fit", "seconds": 1.5}
    assert [timing["stage"] for timing in data["timings"]] == ["fit", *["evaluate"] * 3]
    assert data["peak_memory_mb"] == comparison.peak_memory_mb
    assert Comparison.from_json(text) == comparison


def test_broken_json_is_named(comparison):
    with pytest.raises(DataError, match="not the JSON of a comparison"):
        Comparison.from_json("{}")
    data = json.loads(comparison.to_json())
    data["results"][3]["value"] = "high"
    with pytest.raises(DataError, match=r"results\.3\.value"):
        Comparison.from_json(json.dumps(data))


def test_saved_comparisons_are_read_again(comparison, tmp_path):
    comparison.save(tmp_path / "table.json")
    assert Comparison.from_json((tmp_path / "table.json").read_text()) == comparison


def test_the_text_table_names_everything(comparison):
    text = comparison.text()
    for word in ("good", "noisy", "chance *", "small", "random-cold", "mask all", "95%"):
        assert word in text
    shown = comparison.find("good", "cold", "recall@20")
    assert f"{shown.value:.4f}" in text
    assert f"{comparison.find('good', 'cold', 'mrr@20').value:.4f}" in comparison.text(["mrr@20"])


def test_reports_of_different_masks_do_not_mix(split, scorers, reports):
    other = evaluate(scorers["noisy"], split, mask="train")
    with pytest.raises(DataError, match=r"'good' and 'noisy'.*their data differ"):
        compare([reports[0], other])


def test_bad_sets_of_reports_are_refused(split, scorers, reports):
    with pytest.raises(DataError, match="no report"):
        compare([])
    with pytest.raises(DataError, match="'good' with seed None occurs 2 times"):
        compare([reports[0], reports[0]])
    with pytest.raises(ConfigError, match=r"baseline 'ridge'.*'good', 'noisy', 'chance'"):
        compare(reports, against="ridge")
    with pytest.raises(DataError, match="their metrics differ"):
        compare([reports[0], evaluate(scorers["noisy"], split, metrics=("ndcg@5",))])
    with pytest.raises(ConfigError, match="no auc@1"):
        compare(reports, resampling=FEW).find("good", "cold", "auc@1")
