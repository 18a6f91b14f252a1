"""The evaluation of a scorer on a split: slices, masks, user sets, facts."""

from dataclasses import replace

import numpy as np
import pytest

from warmstart.data.ids import Ids
from warmstart.data.interactions import concatenate
from warmstart.data.splits.next_item import next_item
from warmstart.data.splits.random_cold import random_cold
from warmstart.errors import ConfigError, DataError, NotFittedError
from warmstart.evaluation.evaluate import evaluate
from warmstart.methods.popular import Popular
from warmstart.rank import rank_task


def oracle(split, scorers, extra=None):
    """Score test positives 1 and everything else 0; ``extra`` interactions score 2."""
    table = np.zeros_like(scorers["good"].scores)
    truth = concatenate([split.cold_test, split.warm_test])
    table[truth.users, truth.items] = 1
    if extra is not None:
        table[extra.users, extra.items] = 2
    return replace(scorers["good"], name="oracle", scores=table)


def test_values_are_those_of_the_ranking(split, scorers):
    model = scorers["good"]
    report = evaluate(model, split, metrics=("recall@5", "ndcg@10"), slices=("cold", "warm"))
    assert list(report.slices) == ["cold", "warm"]
    for name, result in report.slices.items():
        task = split.slice("test", name, "all")
        ranking = rank_task(model.score, task, 10)
        np.testing.assert_array_equal(result.users, task.users)
        for metric in report.metrics:
            np.testing.assert_array_equal(result.values[metric], ranking.per_query(metric))
            assert report.value(name, metric) == pytest.approx(ranking.mean(metric), rel=1e-12)


def test_better_scorers_get_better_numbers(split, scorers):
    values = [
        evaluate(scorers[name], split).value("overall", "ndcg@20")
        for name in ("chance", "noisy", "good")
    ]
    assert values[0] < values[1] < values[2]


def test_r2_mask_all_forgives_validation_favourites_and_mask_train_does_not(split, scorers):
    model = oracle(split, scorers, concatenate([split.cold_valid, split.warm_valid]))
    for name in ("cold", "warm", "overall"):
        assert evaluate(model, split, mask="all").value(name, "ndcg@20") == pytest.approx(1)
        assert evaluate(model, split, mask="train").value(name, "ndcg@20") < 1


def test_r3_both_user_sets_are_reported(split, scorers):
    legacy = evaluate(scorers["good"], split)
    assert split.overall_users == "both"
    every_user = np.union1d(split.cold_test.users, split.warm_test.users)
    both = np.intersect1d(split.cold_test.users, split.warm_test.users)
    assert len(both) < len(every_user)
    np.testing.assert_array_equal(legacy.slices["overall"].users, both)
    np.testing.assert_array_equal(legacy.slices["overall_any"].users, every_user)

    fixed = evaluate(scorers["good"], replace(split, overall_users="any"))
    np.testing.assert_array_equal(fixed.slices["overall"].users, every_user)
    np.testing.assert_array_equal(fixed.slices["overall_both"].users, both)
    for ours, theirs in (("overall", "overall_both"), ("overall_any", "overall")):
        assert legacy.value(ours, "ndcg@20") == fixed.value(theirs, "ndcg@20")
    direct = rank_task(scorers["good"].score, split.slice("test", "overall", "all"), 20)
    assert legacy.value("overall", "ndcg@20") == pytest.approx(direct.mean("ndcg@20"))


def test_r4_candidates_of_validation_only_do_not_move_the_test_number(split, scorers):
    windows = {"valid": split.cold_valid.items, "test": split.cold_test.items}
    apart = replace(
        split, cold_candidates={part: np.unique(items) for part, items in windows.items()}
    )
    table = scorers["good"].scores.copy()
    table[:, np.unique(split.cold_valid.items)] += 100
    loud = replace(scorers["good"], scores=table)
    for name in ("cold", "overall"):
        assert evaluate(loud, apart).value(name, "ndcg@20") == evaluate(
            scorers["good"], apart
        ).value(name, "ndcg@20")
    assert not any("R4" in line for line in evaluate(loud, apart).data.defects)
    assert any("R4" in line for line in evaluate(loud, split).data.defects)


def test_facts_of_a_scorer_that_knows_warm_items_only(split, scorers):
    report = evaluate(scorers["warm_only"], split, metrics=("ndcg@20",))
    cold, overall = report.slices["cold"], report.slices["overall"]
    assert cold.facts.answered == 0
    assert cold.facts.scored == 0
    assert cold.facts.short_lists == cold.facts.users
    assert cold.mean("ndcg@20") == 0
    assert cold.exposure.coverage == 0
    assert overall.exposure.cold_share == 0
    assert overall.exposure.cold_truth_share > 0.05
    assert overall.facts.answered == 1
    assert all(part.cold == 0 for part in report.calibration)


def test_facts_count_what_is_there(split, scorers):
    report = evaluate(scorers["chance"], split, metrics=("ndcg@5", "recall@20"))
    facts = report.slices["warm"].facts
    task = split.slice("test", "warm", "all")
    assert facts.users == len(task.users)
    assert facts.pairs == task.relevance.nnz == len(split.warm_test)
    assert facts.masked_pairs == task.masked[:, task.candidates].nnz
    assert facts.k == 20
    assert facts.tie_share == 0
    assert facts.scored == 1
    assert report.peak_memory_mb > 10
    assert report.score_seconds <= report.seconds


def test_ties_are_reported(split, scorers):
    constant = replace(scorers["good"], scores=np.zeros_like(scorers["good"].scores))
    report = evaluate(constant, split)
    assert {result.facts.tie_share for result in report.slices.values()} == {1.0}


def test_data_facts_say_what_the_numbers_depend_on(split, scorers):
    data = evaluate(scorers["good"], split, mask="train", part="valid").data
    assert (data.name, data.protocol, data.part, data.mask) == (
        "small",
        "random-cold",
        "valid",
        "train",
    )
    assert data.split_hash == split.hash
    assert data.item_content == ("title",)
    assert [line[:2] for line in data.defects] == ["R3", "R4", "R5", "R9"]
    tested = evaluate(scorers["good"], split, mask="train").data
    assert [line[:2] for line in tested.defects] == ["R2", "R3", "R4", "R5", "R9"]
    leaky = evaluate(scorers["good"], split, part="valid").data
    assert "reads test labels" in leaky.defects[0]


def test_block_size_changes_nothing(split, scorers):
    whole = evaluate(scorers["noisy"], split)
    blocks = evaluate(scorers["noisy"], split, memory_mb=0.001)
    for name, result in whole.slices.items():
        for metric in whole.metrics:
            np.testing.assert_array_equal(result.values[metric], blocks.slices[name].values[metric])
        assert result.facts == blocks.slices[name].facts
    assert whole.calibration == blocks.calibration


@pytest.mark.parametrize(
    ("options", "ranked"),
    [({}, 1), ({"cold_users": 10}, 1), ({"cold_items": 0.2}, 3), ({"candidates": "uni5"}, 1)],
)
def test_slices_of_the_same_candidates_are_ranked_once(split, options, ranked):
    """The queries of a slice are a part of all: its values are those of a ranking of its own."""
    steps = split.dataset.interactions
    timed = replace(steps, times=np.arange(len(steps)))
    sequences = next_item(replace(split.dataset, interactions=timed), **options)
    asked = []

    class Counted:
        name = "counted"

        def score(self, queries, items):
            asked.append(len(queries))
            rows = queries.histories.lengths[:, None] * 7919 + 1
            return (items * rows % 101 % 10).astype(np.float32)  # with ties

    report = evaluate(Counted(), sequences)
    names = list(report.slices)
    assert names[:3] == ["all", "warm", "cold"]
    assert len(asked) == ranked
    for name in names[1:]:
        alone = evaluate(Counted(), sequences, slices=[name])
        for metric in report.metrics:
            assert np.array_equal(
                alone.slices[name].values[metric], report.slices[name].values[metric]
            )


def test_per_user_values_come_back_with_ids(split, scorers):
    report = evaluate(scorers["good"], split, metrics=("recall@20",), seed=4)
    frame = report.per_user(split.dataset.user_ids)
    assert frame.columns == ["method", "seed", "slice", "metric", "user", "value"]
    cold = frame.filter(slice="cold")
    assert cold["user"].to_list() == split.dataset.user_ids.take(report.slices["cold"].users)
    assert cold["value"].mean() == pytest.approx(report.value("cold", "recall@20"))
    assert frame["seed"].unique().to_list() == [4]


def test_variants_of_one_method_get_their_own_names(split, scorers):
    assert evaluate(scorers["good"], split).method == "good"
    assert evaluate(scorers["good"], split, name="good, wide").method == "good, wide"


NO_NUMBERS = (float("inf"), float("nan"), -1, 0, None, "a", True)


@pytest.mark.parametrize("kind", ["recall", "ndcg", "precision", "hit", "mrr", "micro_recall"])
@pytest.mark.parametrize("k", [10**12, 10**17])
def test_a_cut_off_beyond_the_catalogue_is_that_of_the_whole_list(split, scorers, kind, k):
    n_items = split.dataset.n_items
    found = evaluate(scorers["good"], split, metrics=[f"{kind}@{k}"], slices=["cold", "overall"])
    whole = evaluate(scorers["good"], split, metrics=[f"{kind}@{n_items}"], slices=["cold"])
    factor = n_items / k if kind == "precision" else 1.0
    assert found.value("cold", f"{kind}@{k}") == pytest.approx(
        factor * whole.value("cold", f"{kind}@{n_items}"), rel=1e-12
    )
    assert found.slices["cold"].facts.k == k


def test_a_recommender_fitted_on_other_data_is_refused(split):
    model = Popular().fit(split.train)
    evaluate(model, split)
    model.add_items({"item": ["later"], "title": ["added after the fit"]})
    evaluate(model, split)
    other = random_cold(split.dataset, seed=4)
    for data in (split.dataset, other.train):
        with pytest.raises(
            DataError, match=r"fitted on other interactions.*fit it on split\.train"
        ):
            evaluate(Popular().fit(data), split)
    renamed = replace(split.train, user_ids=Ids([f"x{u}" for u in range(80)], "user"))
    with pytest.raises(DataError, match="the 80 users of the model are not the 80 users"):
        evaluate(Popular().fit(renamed), split)
    with pytest.raises(NotFittedError):
        evaluate(Popular(), split)


def test_progress_and_bad_arguments(split, scorers):
    seen = set()
    evaluate(
        scorers["good"], split, progress=lambda name, done, users: seen.add((name, done == users))
    )
    assert seen == {("cold", True), ("warm", True), ("overall", True)}
    with pytest.raises(ConfigError, match="slices must be a list of some of"):
        evaluate(scorers["good"], split, slices=("hot",))
    for slices in ("cold", [["cold"]], ()):
        with pytest.raises(ConfigError, match="slices must be a list"):
            evaluate(scorers["good"], split, slices=slices)
    for metrics in ((), "ndcg@20"):
        with pytest.raises(ConfigError, match="metrics must be a list of names"):
            evaluate(scorers["good"], split, metrics=metrics)
    for metric in ("ndcg@" + 30 * "9", "ndcg@" + 5000 * "9", "ndcg@0", "ndcg", 5, None):
        with pytest.raises(ConfigError, match="is unknown; write kind@k with k from 1"):
            evaluate(scorers["good"], split, metrics=[metric])
    for name, value in (
        *(("memory_mb", value) for value in NO_NUMBERS),
        *((name, value) for name in ("seed", "tie_seed") for value in (-1, 1.5, "a", True)),
    ):
        with pytest.raises(ConfigError, match=rf"evaluate: {name} must be .*, got {value!r}"):
            evaluate(scorers["good"], split, **{name: value})
    with pytest.raises(ConfigError, match="'auc@3' is unknown"):
        evaluate(scorers["good"], split, metrics=("auc@3",))
