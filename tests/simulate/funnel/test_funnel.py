"""Parts of ColdLLM's funnel: towers and filter, pairs, selection."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit

from warmstart.backbones import build
from warmstart.backbones.ials import IalsConfig
from warmstart.core import FitContext
from warmstart.data.interactions import concatenate
from warmstart.run import Run
from warmstart.simulate.funnel.coupled_filter import CoupledFilter, FilterConfig, fit_filter
from warmstart.simulate.funnel.judge import auc
from warmstart.simulate.funnel.select import (
    SelectConfig,
    Shortlist,
    fit_coefficients,
    labels_on,
    probabilities,
    select,
    with_judge,
)
from warmstart.simulate.funnel.towers import BehaviourTowerConfig, ContentTowerConfig
from warmstart.simulate.funnel.training_pairs import PairBuilder, training_pairs
from warmstart.simulate.ridge import RidgeConfig

SIZES = {"width": 8, "hidden": 16, "batch_size": 64, "learning_rate": 1e-2, "epochs": 30}
CONFIGS = {
    "ridge alone": FilterConfig(signals="content", ridge=RidgeConfig(l2=0.3)),
    "content tower": FilterConfig(
        signals="content", ridge=None, content_tower=ContentTowerConfig(**SIZES)
    ),
    "behaviour tower": FilterConfig(
        signals="behaviour", behaviour_tower=BehaviourTowerConfig(**SIZES)
    ),
    "both": FilterConfig(
        ridge=None,
        content_tower=ContentTowerConfig(**SIZES),
        behaviour_tower=BehaviourTowerConfig(**SIZES),
    ),
}


def fitted(config, world, vectors, valid=True, folder=None):
    context = FitContext(
        world.split.validation() if valid else None, None, np.random.default_rng(0), Run(folder)
    )
    backbone = build(IalsConfig(width=8, epochs=4, alpha=5, l2=3)).fit(
        world.data.matrix, rng=np.random.default_rng(0)
    )
    return fit_filter(config, backbone, vectors, world.data, context)


@pytest.fixture(scope="module")
def cold(world):
    return np.flatnonzero(~world.data.warm)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_side_and_both_shortlist_the_right_users(name, world, vectors, cold):
    found, choices = fitted(CONFIGS[name], world, vectors)
    users, scores = found.shortlist(found.user_scores(vectors[cold]), 8)
    assert (np.diff(scores, axis=1) <= 0).all()
    right = world.user_parity[users] == world.item_parity[cold][:, None]
    assert right.mean() > 0.9
    assert ("content_weight" in choices) == (name == "both")
    restored = CoupledFilter.restore(CONFIGS[name], found.state())
    np.testing.assert_array_equal(
        restored.user_scores(vectors[cold]), found.user_scores(vectors[cold])
    )


def test_trained_towers_are_reused_from_the_run_folder(world, vectors, cold, tmp_path):
    config = CONFIGS["both"]
    first, _ = fitted(config, world, vectors, folder=tmp_path)
    stages = sorted(tmp_path.rglob("checkpoint.json"))
    before = [path.read_bytes() for path in stages]
    again, _ = fitted(config, world, vectors, folder=tmp_path)
    assert [path.read_bytes() for path in stages] == before
    assert len(stages) == 2
    np.testing.assert_array_equal(first.user_scores(vectors), again.user_scores(vectors))


def test_the_activity_penalty_prefers_less_active_users(world, vectors, cold):
    degrees = world.data.matrix.getnnz(axis=1)
    means = []
    for penalty in (0.0, 1.0):
        config = FilterConfig(signals="content", activity_penalty=penalty)
        found, _ = fitted(config, world, vectors)
        users, _ = found.shortlist(found.user_scores(vectors[cold]), 8)
        means.append(degrees[users].mean())
    assert means[1] < means[0]


@pytest.fixture(scope="module")
def builder(world, vectors):
    return PairBuilder(world.data.matrix, vectors, world.data.catalogue.texts, 3)


def test_a_history_holds_the_items_most_similar_to_the_item_of_the_pair(world, vectors, builder):
    seen, rng = world.data.matrix, np.random.default_rng(0)
    items = rng.integers(world.data.n_items, size=40).astype(np.int32)
    users = rng.integers(world.data.n_users, size=40).astype(np.int32)
    pairs = builder.warm_item_pairs(items, users)
    for row, (item, user) in enumerate(zip(items, users, strict=True)):
        history = [other for other in seen[user].indices if other != item]
        ranked = sorted(history, key=lambda other: -float(vectors[other] @ vectors[item]))
        chosen = [other for other in pairs.history[row] if other >= 0]
        assert chosen == ranked[:3]
        assert item not in chosen, "an item must not be in its own history"
        assert pairs.history_texts(row) == [world.data.catalogue.texts[other] for other in chosen]
        assert pairs.activity[row] == pytest.approx(np.log1p(len(history)))
    assert (pairs.similarities[pairs.history < 0] == 0).all()


def test_activity_of_a_pair_with_a_new_item_counts_the_whole_history(world, vectors, builder):
    users = np.arange(5, dtype=np.int32)
    pairs = builder.new_item_pairs(np.zeros(5, np.int32), users, vectors[:1], ["new"])
    lengths = world.data.matrix[users].getnnz(axis=1)
    np.testing.assert_allclose(pairs.activity, np.log1p(lengths), rtol=1e-6)


def test_training_pairs_are_labelled_by_training_interactions_alone(world, vectors, builder):
    """A held-out pair at the top of the ranking is sampled, and labelled negative."""
    data = world.data
    held_out = concatenate([world.split.warm_valid, world.split.warm_test])
    item = int(held_out.items[0])
    planted = int(held_out.users[held_out.items == item][0])
    warm = np.flatnonzero(data.warm).astype(np.int32)
    ranked = np.tile(np.arange(6, dtype=np.int32), (len(warm), 1))
    ranked[warm == item] = planted
    pairs, labels = training_pairs(
        builder, data, ranked, warm, np.random.default_rng(0), hard=3, random=2
    )
    truth = np.asarray(data.matrix[pairs.users, pairs.items]).ravel() > 0
    np.testing.assert_array_equal(labels, truth)
    is_planted = (pairs.items == item) & (pairs.users == planted)
    assert is_planted.any()
    assert not labels[is_planted].any()
    assert set(pairs.items) <= set(warm)
    counts = np.bincount(pairs.items[labels], minlength=data.n_items)[warm]
    n_positive = data.matrix[:, warm].getnnz(axis=0)
    assert (counts >= np.minimum(n_positive, 2)).all()
    assert (counts <= np.minimum(n_positive, 5)).all()
    # Users from the top of the ranking get both labels.
    hard = np.isin(pairs.users, np.arange(6))
    assert 0 < labels[hard].mean() < 1


@pytest.fixture
def shortlist():
    """A shortlist, and labels drawn from a logistic model of both scores, coefficients known."""
    rng = np.random.default_rng(0)
    scores, log_odds = rng.normal(size=(2, 400, 20)).astype(np.float32)
    users = np.argsort(rng.random((400, 90)), axis=1)[:, :20].astype(np.int32)
    found = Shortlist(users, scores, log_odds)
    truth = rng.random((400, 20)) < expit(-1 + 1.5 * scores + 0.7 * log_odds)
    return found, truth


@pytest.mark.parametrize("rank_by", ["both", "judge", "filter"])
def test_probabilities_are_calibrated_for_every_rank_by(shortlist, rank_by):
    found, truth = shortlist
    config = fit_coefficients(SelectConfig(rank_by=rank_by), found, truth)
    if rank_by == "both":
        np.testing.assert_allclose(
            [config.intercept, config.filter_coefficient, config.judge_coefficient],
            [-1, 1.5, 0.7],
            atol=0.15,
        )
    assert (config.filter_coefficient == 0) == (rank_by == "judge")
    assert (config.judge_coefficient == 0) == (rank_by == "filter")
    p = probabilities(config, found)
    assert p.mean() == pytest.approx(truth.mean(), abs=0.01)
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 1)):
        some = (p > low) & (p <= high)
        assert truth[some].mean() == pytest.approx(p[some].mean(), abs=0.04)


def test_only_validation_items_are_labelled(world):
    task, n_users = world.split.validation()["cold"], world.data.n_users
    users = np.tile(np.arange(n_users, dtype=np.int32), (len(task.candidates), 1))
    labelled, truth = labels_on(task, users, n_users)
    known = world.split.cold_valid
    assert task.candidates[labelled].tolist() == np.unique(known.items).tolist()
    expected = known.matrix(n_users, world.data.n_items).toarray().T > 0
    np.testing.assert_array_equal(truth, expected[task.candidates[labelled]])


def test_without_a_judge_its_coefficient_is_zero(shortlist):
    found, truth = shortlist
    unjudged = Shortlist.without_judge(found.users, found.scores)
    assert fit_coefficients(SelectConfig(), unjudged, truth).judge_coefficient == 0


def test_the_likeliest_users_are_selected_with_their_evidence(shortlist):
    found, truth = shortlist
    config = fit_coefficients(SelectConfig(), found, truth)
    events, p = select(config, found, "coldllm", 5), probabilities(config, found)
    assert events.sources == ("coldllm",)
    np.testing.assert_array_equal(np.bincount(events.items), np.full(400, 5))
    for row in (0, 17, 399):
        rows = np.flatnonzero(events.items == row)
        places = np.argsort(-p[row], kind="stable")[:5]
        np.testing.assert_array_equal(events.users[rows], found.users[row, places])
        np.testing.assert_array_equal(events.weights[rows], p[row, places])
        for name, table in (("filter_score", found.scores), ("judge_log_odds", found.log_odds)):
            np.testing.assert_array_equal(events.evidence[name][rows], table[row, places])


def test_expected_interactions_select_more_of_the_less_likely_users(shortlist):
    found, truth = shortlist
    config = fit_coefficients(SelectConfig(expected_interactions=2.0), found, truth)
    events = select(config, found, "coldllm")
    sums = np.bincount(events.items, events.weights)
    counts = np.bincount(events.items)
    whole = probabilities(config, found).sum(axis=1)
    assert (sums[whole > 2] >= 2 - 1e-5).all()
    last = np.array([events.weights[events.items == row][-1] for row in range(400)])
    assert (sums - last < 2).all()
    assert np.corrcoef(counts, whole)[0, 1] < -0.3


def test_auc_counts_ties_half():
    truth = np.array([True, False, True, False])
    assert auc(np.array([2.0, 1.0, 2.0, 1.0]), truth) == 1
    assert auc(np.array([1.0, 1.0, 2.0, 1.0]), truth) == 0.75
    assert np.isnan(auc(np.ones(4), np.ones(4, bool)))
    rng = np.random.default_rng(0)
    scores, known = rng.integers(5, size=200), rng.random(200) < 0.3
    pairs = scores[known][:, None] - scores[~known][None, :]
    assert auc(scores, known) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_weights_are_above_zero():
    unlikely = Shortlist(
        np.zeros((1, 1), np.int32), np.full((1, 1), -99, np.float32), np.zeros((1, 1))
    )
    events = select(SelectConfig(filter_coefficient=10.0), unlikely, "coldllm")
    assert (events.weights > 0).all()
    assert sparse.issparse(events.matrix(1, 1))


def test_the_judge_changes_scores_of_shortlisted_users_only():
    rng = np.random.default_rng(0)
    user_scores = rng.standard_normal((3, 6)).astype(np.float32)
    users = np.array([[4, 1], [0, 5], [2, 3]], np.int32)
    log_odds = np.array([[1, -1], [2, 2], [-3, 0]], np.float32)
    found = with_judge(2.0, Shortlist(users, np.zeros((3, 2), np.float32), log_odds), user_scores)
    change = np.zeros((3, 6), np.float32)
    change[0, [4, 1]], change[2, [2, 3]] = (2, -2), (-3, 3)
    np.testing.assert_allclose(found - user_scores, change, atol=1e-6)
