"""Rate statistics and their regression, compared with loops and with refits without one item."""

import numpy as np
import pytest
from scipy import sparse

from tests.backbones.click.conftest import make_world
from warmstart.backbones.click import Events, HistoryRanges
from warmstart.backbones.click.logistic import LogisticCtrConfig, RateRegression
from warmstart.backbones.click.rates import ItemRates, affinity, content_prior, departure
from warmstart.evaluation.labels import auc


@pytest.fixture
def histories():
    rng = np.random.default_rng(0)
    events = Events(rng.integers(12, size=40).astype(np.int32), rng.random(40) < 0.5)
    bounds = np.sort(rng.integers(41, size=(15, 2)), axis=1)
    return HistoryRanges(events, bounds[:, 0], bounds[:, 1])


def test_item_rates_by_hand():
    rates = ItemRates(
        counts=np.array([4.0, 0.0]), likes=np.array([3.0, 0.0]), prior=np.array([0.5, 0.2]),
        content=np.array([0.4, 0.1, -0.2, 9.0]), shrinkage=2.0,
    )  # fmt: skip
    np.testing.assert_allclose(rates.rates, [4 / 6, 0.2])
    without = rates.without(np.array([0, 0]), np.array([True, False]))
    np.testing.assert_allclose(without, [3 / 5, 4 / 5])
    grown = rates.extended(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(grown.rates, [4 / 6, 0.2, 0.3, 0.98])


def test_the_rate_without_a_label_is_that_of_the_other_pairs(world):
    rates = ItemRates.of_pairs(world.train, 5.0)
    without = rates.without(world.train.items, world.train.labels)
    for row in range(0, len(world.train), 97):
        item, others = world.train.items[row], np.arange(len(world.train)) != row
        labels = world.train.labels[others & (world.train.items == item)]
        expected = (labels.sum() + 5 * rates.prior[item]) / (len(labels) + 5)
        assert without[row] == pytest.approx(expected)


def test_departure_and_affinity_equal_loops(histories):
    rng = np.random.default_rng(1)
    residuals = rng.normal(size=40)
    table = rng.random((12, 4)) < 0.4
    table[3] = False
    items = rng.integers(12, size=15).astype(np.int32)
    items[0] = 3
    found = affinity(items, histories, residuals, sparse.csr_matrix(table), 2.0)
    general = departure(histories, residuals, 2.0)
    for pair, (a, b) in enumerate(zip(histories.starts, histories.ends, strict=True)):
        assert general[pair] == pytest.approx(residuals[a:b].sum() / (b - a + 2))
        parts = []
        for attribute in np.flatnonzero(table[items[pair]]):
            own = residuals[a:b][table[histories.events.items[a:b], attribute]]
            parts.append((own - general[pair]).sum() / (len(own) + 2))
        assert found[pair] == pytest.approx(np.mean(parts) if parts else 0)
    assert found[0] == 0


def prior_of(features, rates, counts):
    return content_prior(features.astype(np.float32), counts, rates * counts, 0.5, 5.0)[0]


def test_the_prior_of_a_rated_item_does_not_know_its_own_labels(monkeypatch):
    monkeypatch.setattr("warmstart.backbones.click.rates._RIDGES", (1.0,))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3))
    rates = np.clip(0.5 + features @ [0.1, -0.05, 0.0] + 0.05 * rng.normal(size=40), 0, 1)
    counts = rng.integers(1, 20, 40).astype(float)
    counts[-4:] = 0
    prior = prior_of(features, rates, counts)
    for item in range(0, 36, 5):
        other = rates.copy()
        other[item] = 1 - other[item]
        changed = prior_of(features, other, counts)
        assert changed[item] == pytest.approx(prior[item], abs=1e-5)
        assert np.abs(np.delete(changed - prior, item)).max() > 1e-4
    # The unrated items follow the same line.
    np.testing.assert_allclose(prior[-4:], 0.5 + features[-4:] @ [0.1, -0.05, 0.0], atol=0.06)
    assert np.corrcoef(prior[:36], rates[:36])[0, 1] > 0.8


def test_features_that_tell_nothing_leave_the_mean():
    rng = np.random.default_rng(0)
    rates, counts = rng.random(60), np.full(60, 10.0)
    prior = prior_of(rng.normal(size=(60, 8)), rates, counts)
    assert np.abs(prior - 0.5).max() < 0.02


def test_the_inputs_of_training_rows_do_not_leak_their_labels():
    world = make_world(relabel=lambda labels, rng: rng.random(len(labels)) < 0.5)
    regression, logits = RateRegression.fit(LogisticCtrConfig(), world.train)
    # Nothing is found, not even on the training rows.
    assert auc(world.train.labels, logits) < 0.56
    # With the own label in the rate of the item the training rows seem predictable.
    leaking = regression.rates.rates[world.train.items]
    assert auc(world.train.labels, leaking) > 0.6
    held_out = HistoryRanges.of_histories(world.held_out.histories, 4.0)
    found = regression.logits(world.items, held_out)
    assert 0.41 < auc(world.labels, found) < 0.59


def test_the_log_odds_of_training_rows_are_those_of_a_fit_without_their_label(world):
    regression, logits = RateRegression.fit(LogisticCtrConfig(), world.train)
    pairs = world.train
    again = regression.logits(pairs.items, pairs.histories)
    assert not np.allclose(again, logits)
    rate_of = regression.coefficients[1]
    rates = regression.rates
    own, without = rates.rates[pairs.items], rates.without(pairs.items, pairs.labels)
    difference = rate_of * (np.log(own / (1 - own)) - np.log(without / (1 - without)))
    np.testing.assert_allclose(again - logits, difference, atol=1e-9)


def test_rare_labels_keep_their_frequency():
    world = make_world(relabel=lambda labels, rng: labels & (rng.random(len(labels)) < 0.04))
    _, logits = RateRegression.fit(LogisticCtrConfig(), world.train)
    mean = (1 / (1 + np.exp(-logits))).mean()
    assert mean == pytest.approx(world.train.labels.mean(), rel=0.03)
    assert mean < 0.03


def test_affinity_finds_the_taste_and_can_be_left_out(world):
    held_out = HistoryRanges.of_histories(world.held_out.histories, 4.0)
    for shrinkage, low, high in ((10.0, 0.9, 1.0), (None, 0.35, 0.65)):
        config = LogisticCtrConfig(attribute_shrinkage=shrinkage)
        regression, _ = RateRegression.fit(config, world.train)
        assert low < auc(world.labels, regression.logits(world.items, held_out)) < high
        assert len(regression.coefficients) == (5 if shrinkage else 4)


def test_the_newest_events_count_when_users_change_their_minds():
    # Every user likes nothing in the first half of the time, then everything.
    def change(labels, rng):
        return (np.arange(len(labels)) % 24 >= 12) ^ (rng.random(len(labels)) < 0.1)

    world = make_world(relabel=change)
    short, _ = RateRegression.fit(LogisticCtrConfig(newest=3), world.train)
    assert short.coefficients[3] > 3 * short.coefficients[2]
