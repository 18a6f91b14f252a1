"""ColdLLM's parts: towers and filter, questions, refinement."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit

from warmstart.backbones import build
from warmstart.backbones.ials import IalsConfig
from warmstart.core import FitContext
from warmstart.data.interactions import concatenate
from warmstart.run import Run
from warmstart.simulate.filter import CoupledFilter, FilterConfig, fit_filter
from warmstart.simulate.judge import auc
from warmstart.simulate.questions import Questioner, training_questions
from warmstart.simulate.refine import (
    Candidates,
    RefineConfig,
    answers,
    calibrated,
    chances,
    kept,
    spoken,
)
from warmstart.simulate.ridge import RidgeConfig
from warmstart.simulate.towers import BehaviourConfig, ContentConfig

SIZES = {"width": 8, "hidden": 16, "batch_size": 64, "learning_rate": 1e-2, "epochs": 30}
CONFIGS = {
    "ridge alone": FilterConfig(sides="content", ridge=RidgeConfig(l2=0.3)),
    "content tower": FilterConfig(sides="content", ridge=None, content=ContentConfig(**SIZES)),
    "behaviour tower": FilterConfig(sides="behaviour", behaviour=BehaviourConfig(**SIZES)),
    "both": FilterConfig(
        ridge=None, content=ContentConfig(**SIZES), behaviour=BehaviourConfig(**SIZES)
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
def test_each_side_and_both_name_the_right_users(name, world, vectors, cold):
    found, choices = fitted(CONFIGS[name], world, vectors)
    users, scores = found.candidates(found.affinities(vectors[cold]), 8)
    assert (np.diff(scores, axis=1) <= 0).all()
    right = world.user_parity[users] == world.item_parity[cold][:, None]
    assert right.mean() > 0.9
    assert ("share" in choices) == (name == "both")
    again = CoupledFilter.restore(CONFIGS[name], found.state())
    np.testing.assert_array_equal(again.affinities(vectors[cold]), found.affinities(vectors[cold]))


def test_a_tower_that_was_trained_is_read_back(world, vectors, cold, tmp_path):
    config = CONFIGS["both"]
    first, _ = fitted(config, world, vectors, folder=tmp_path)
    stages = sorted(tmp_path.rglob("checkpoint.json"))
    before = [path.read_bytes() for path in stages]
    again, _ = fitted(config, world, vectors, folder=tmp_path)
    assert [path.read_bytes() for path in stages] == before
    assert len(stages) == 2
    np.testing.assert_array_equal(first.affinities(vectors), again.affinities(vectors))


def test_correction_for_degree_names_quieter_users(world, vectors, cold):
    degrees = world.data.matrix.getnnz(axis=1)
    means = []
    for power in (0.0, 1.0):
        config = FilterConfig(sides="content", degree_power=power)
        found, _ = fitted(config, world, vectors)
        users, _ = found.candidates(found.affinities(vectors[cold]), 8)
        means.append(degrees[users].mean())
    assert means[1] < means[0]


@pytest.fixture(scope="module")
def questioner(world, vectors):
    return Questioner(world.data.matrix, vectors, world.data.catalogue.texts, 3)


def test_a_user_is_shown_by_their_items_most_like_the_one_asked_about(world, vectors, questioner):
    seen, rng = world.data.matrix, np.random.default_rng(0)
    items = rng.integers(world.data.n_items, size=40).astype(np.int32)
    users = rng.integers(world.data.n_users, size=40).astype(np.int32)
    questions = questioner.ask_warm(items, users)
    for row, (item, user) in enumerate(zip(items, users, strict=True)):
        history = [other for other in seen[user].indices if other != item]
        ranked = sorted(history, key=lambda other: -float(vectors[other] @ vectors[item]))
        shown = [place for place in questions.shown[row] if place >= 0]
        assert shown == ranked[:3]
        assert item not in shown, "the answer must not be part of the question"
        assert questions.history(row) == [world.data.catalogue.texts[place] for place in shown]
        assert questions.activity[row] == pytest.approx(np.log1p(len(history)))
    assert (questions.similarities[questions.shown < 0] == 0).all()


def test_a_question_about_a_new_item_shows_all_of_the_history(world, vectors, questioner):
    users = np.arange(5, dtype=np.int32)
    asked = questioner.ask(np.zeros(5, np.int32), users, vectors[:1], ["new"])
    lengths = world.data.matrix[users].getnnz(axis=1)
    np.testing.assert_allclose(asked.activity, np.log1p(lengths), rtol=1e-6)


def test_training_questions_know_training_interactions_and_nothing_else(world, vectors, questioner):
    """A held-out pair is planted at the top of the ranking: it must be asked, and answered no."""
    data = world.data
    held_out = concatenate([world.split.warm_valid, world.split.warm_test])
    item = int(held_out.items[0])
    planted = int(held_out.users[held_out.items == item][0])
    warm = np.flatnonzero(data.warm).astype(np.int32)
    ranked = np.tile(np.arange(6, dtype=np.int32), (len(warm), 1))
    ranked[warm == item] = planted
    questions, answers = training_questions(
        questioner, data, ranked, warm, np.random.default_rng(0), hard=3, random=2
    )
    truth = np.asarray(data.matrix[questions.users, questions.items]).ravel() > 0
    np.testing.assert_array_equal(answers, truth)
    about = (questions.items == item) & (questions.users == planted)
    assert about.any()
    assert not answers[about].any()
    assert set(questions.items) <= set(warm)
    counts = np.bincount(questions.items[answers], minlength=data.n_items)[warm]
    likers = data.matrix[:, warm].getnnz(axis=0)
    assert (counts >= np.minimum(likers, 2)).all()
    assert (counts <= np.minimum(likers, 5)).all()
    # The top of the ranking is asked about with both answers.
    hard = np.isin(questions.users, np.arange(6))
    assert 0 < answers[hard].mean() < 1


@pytest.fixture
def candidates():
    """Truth follows both scores; logistic in them, so the coefficients are known."""
    rng = np.random.default_rng(0)
    scores, log_odds = rng.normal(size=(2, 400, 20)).astype(np.float32)
    users = np.argsort(rng.random((400, 90)), axis=1)[:, :20].astype(np.int32)
    found = Candidates(users, scores, log_odds)
    truth = rng.random((400, 20)) < expit(-1 + 1.5 * scores + 0.7 * log_odds)
    return found, truth


@pytest.mark.parametrize("rank_by", ["mixture", "judge", "filter"])
def test_chances_are_calibrated_by_what_they_may_read(candidates, rank_by):
    found, truth = candidates
    config = calibrated(RefineConfig(rank_by=rank_by), found, truth)
    if rank_by == "mixture":
        np.testing.assert_allclose(
            [config.intercept, config.filter, config.judge], [-1, 1.5, 0.7], atol=0.15
        )
    assert (config.filter == 0) == (rank_by == "judge")
    assert (config.judge == 0) == (rank_by == "filter")
    p = chances(config, found)
    assert p.mean() == pytest.approx(truth.mean(), abs=0.01)
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 1)):
        some = (p > low) & (p <= high)
        assert truth[some].mean() == pytest.approx(p[some].mean(), abs=0.04)


def test_answers_are_known_of_validation_items_only(world):
    task, n_users = world.split.validation()["cold"], world.data.n_users
    users = np.tile(np.arange(n_users, dtype=np.int32), (len(task.candidates), 1))
    asked, truth = answers(task, users, n_users)
    known = world.split.cold_valid
    assert task.candidates[asked].tolist() == np.unique(known.items).tolist()
    expected = known.matrix(n_users, world.data.n_items).toarray().T > 0
    np.testing.assert_array_equal(truth, expected[task.candidates[asked]])


def test_without_a_judge_its_coefficient_is_zero(candidates):
    found, truth = candidates
    silent = Candidates(found.users, found.scores, np.zeros_like(found.scores))
    assert calibrated(RefineConfig(), silent, truth).judge == 0


def test_the_likeliest_are_kept_with_their_evidence(candidates):
    found, truth = candidates
    config = calibrated(RefineConfig(), found, truth)
    events, p = kept(config, found, "coldllm", 5), chances(config, found)
    assert events.provenance == "coldllm"
    np.testing.assert_array_equal(np.bincount(events.items), np.full(400, 5))
    for row in (0, 17, 399):
        mine = np.flatnonzero(events.items == row)
        places = np.argsort(-p[row], kind="stable")[:5]
        np.testing.assert_array_equal(events.users[mine], found.users[row, places])
        np.testing.assert_array_equal(events.weights[mine], p[row, places])
        for name, table in (("filter_score", found.scores), ("judge_log_odds", found.log_odds)):
            np.testing.assert_array_equal(events.evidence[name][mine], table[row, places])


def test_a_budget_keeps_more_of_an_item_with_uncertain_users(candidates):
    found, truth = candidates
    config = calibrated(RefineConfig(budget=2.0), found, truth)
    events = kept(config, found, "coldllm")
    sums = np.bincount(events.items, events.weights)
    counts = np.bincount(events.items)
    whole = chances(config, found).sum(axis=1)
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


def test_no_weight_is_zero():
    sure = Candidates(
        np.zeros((1, 1), np.int32), np.full((1, 1), -99, np.float32), np.zeros((1, 1))
    )
    events = kept(RefineConfig(filter=10.0), sure, "coldllm")
    assert (events.weights > 0).all()
    assert sparse.issparse(events.matrix(1, 1))


def test_the_judges_word_moves_candidates_and_nobody_else():
    rng = np.random.default_rng(0)
    affinities = rng.standard_normal((3, 6)).astype(np.float32)
    users = np.array([[4, 1], [0, 5], [2, 3]], np.int32)
    log_odds = np.array([[1, -1], [2, 2], [-3, 0]], np.float32)
    found = spoken(2.0, Candidates(users, np.zeros((3, 2), np.float32), log_odds), affinities)
    moved = np.zeros((3, 6), np.float32)
    moved[0, [4, 1]], moved[2, [2, 3]] = (2, -2), (-3, 3)
    np.testing.assert_allclose(found - affinities, moved, atol=1e-6)
