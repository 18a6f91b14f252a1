"""Quality of simulated pairs, computed by hand and from properties of the controls."""

from dataclasses import replace

import numpy as np
import pytest

from warmstart.data.interactions import Interactions, concatenate
from warmstart.errors import DataError
from warmstart.evaluation.simulation_quality import simulation_quality


@pytest.fixture(scope="module")
def truth(split):
    return concatenate([split.cold_valid, split.cold_test])


def simulate(split, truth, share_true, per_item=6, seed=0):
    """Name ``per_item`` users for every cold item; a fraction ``share_true`` of them is true."""
    rng = np.random.default_rng(seed)
    users, items = [], []
    for item in np.unique(truth.items):
        fans = truth.users[truth.items == item]
        others = np.setdiff1d(np.arange(split.dataset.n_users), fans)
        n_true = min(len(fans), rng.binomial(per_item, share_true))
        users += [*rng.permutation(fans)[:n_true], *rng.permutation(others)[: per_item - n_true]]
        items += [item] * per_item
    return Interactions.from_arrays(users, items, provenance="test")


def test_numbers_by_hand(split, truth):
    simulated = simulate(split, truth, 0.5)
    quality = simulation_quality(simulated, truth, split.train).simulated
    true = set(zip(truth.users.tolist(), truth.items.tolist(), strict=True))
    named = set(zip(simulated.users.tolist(), simulated.items.tolist(), strict=True))
    hits = true & named
    assert (quality.name, quality.pairs, quality.repeated) == ("test", len(named), 0)
    assert quality.hits == len(hits)
    assert quality.precision == pytest.approx(len(hits) / len(named))
    assert quality.recall == pytest.approx(len(hits) / len(true))
    by_user = [
        sum(u == user for u, _ in hits) / sum(u == user for u, _ in true)
        for user in {u for u, _ in true}
    ]
    assert quality.user_recall == pytest.approx(np.mean(by_user))
    degrees = np.bincount(split.train_interactions.users, minlength=split.dataset.n_users)
    assert quality.user_degree == pytest.approx(np.mean([degrees[u] for u, _ in named]))
    assert quality.user_share == pytest.approx(len({u for u, _ in named}) / split.dataset.n_users)
    assert quality.calibration_error is None


def test_the_truth_is_perfect_and_repeats_are_counted_once(split, truth):
    twice = concatenate([truth, truth.where(np.arange(5))])
    report = simulation_quality(twice, truth, split.train)
    quality = report.simulated
    assert quality.precision == quality.recall == quality.user_recall == 1
    assert quality.repeated == 5
    assert quality.user_degree == pytest.approx(report.true_user_degree)


def test_controls_spend_the_same_budget_and_know_nothing_of_the_item(split, truth):
    simulated = simulate(split, truth, 0.9)
    simulated = simulated.where(np.random.default_rng(1).random(len(simulated)) < 0.7)
    report = simulation_quality(simulated, truth, split.train, seed=2)
    controls = {control.name: control for control in report.controls}
    assert list(controls) == ["most_active", "by_degree", "random"]
    for control in controls.values():
        assert control.pairs == report.simulated.pairs
        assert control.items == report.simulated.items
        assert control.precision < report.simulated.precision
    degree = [controls[name].user_degree for name in ("random", "by_degree", "most_active")]
    assert degree[0] < degree[1] < degree[2]
    assert controls["random"].precision == pytest.approx(report.base_rate, rel=0.3)


def test_users_drawn_by_degree_follow_their_degree(split, truth):
    items = np.unique(truth.items)
    one_each = Interactions.from_arrays(np.zeros(len(items)), items)
    degrees = np.bincount(split.train_interactions.users, minlength=split.dataset.n_users)
    drawn = [
        simulation_quality(one_each, truth, split.train, seed=seed).controls[1].user_degree
        for seed in range(60)
    ]
    # A user drawn in proportion to the degree d has an expected degree of sum d^2 / sum d.
    expected = (degrees**2).sum() / degrees.sum()
    assert np.mean(drawn) == pytest.approx(expected, rel=0.03)


def test_reports_follow_the_seed(split, truth):
    simulated = simulate(split, truth, 0.3)
    first = simulation_quality(simulated, truth, split.train, seed=1)
    assert first == simulation_quality(simulated, truth, split.train, seed=1)
    assert first != simulation_quality(simulated, truth, split.train, seed=2)


def test_strata_by_audience_cover_the_pairs(split, truth):
    report = simulation_quality(simulate(split, truth, 0.5), truth, split.train)
    assert sum(stratum.pairs for stratum in report.by_audience) == report.simulated.pairs
    hits = sum(s.pairs * s.precision for s in report.by_audience if s.precision is not None)
    assert hits == pytest.approx(report.simulated.hits)


def test_calibration_error_tells_honest_from_overconfident(split, truth):
    simulated = simulate(split, truth, 0.5)
    precision = simulation_quality(simulated, truth, split.train).simulated.precision
    errors = []
    for stated in (precision, 0.99):
        weights = np.full(len(simulated), stated)
        report = simulation_quality(simulated, truth, split.train, probabilities=weights)
        errors.append(report.simulated.calibration_error)
    assert errors[0] == pytest.approx(0, abs=1e-9)
    assert errors[1] == pytest.approx(0.99 - precision)


def test_bad_input_is_named(split, truth):
    warm = split.train_interactions.where(np.arange(3))
    with pytest.raises(DataError, match="3 simulated pair"):
        simulation_quality(warm, truth, split.train)
    with pytest.raises(DataError, match="got 0 and"):
        simulation_quality(warm.where(np.arange(0)), truth, split.train)
    with pytest.raises(DataError, match="shape"):
        simulation_quality(truth, truth, split.train, probabilities=np.ones(2))
    with pytest.raises(DataError, match="between 0 and 1"):
        simulation_quality(truth, truth, split.train, probabilities=np.full(len(truth), 2.0))


def test_weights_are_not_taken_for_probabilities(split, truth):
    sure = replace(truth, weights=np.full(len(truth), 0.5, np.float32))
    assert simulation_quality(sure, truth, split.train).simulated.calibration_error is None
