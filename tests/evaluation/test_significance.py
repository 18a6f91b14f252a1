"""Resampling over users, compared with scipy, closed forms and enumeration."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from warmstart.errors import DataError
from warmstart.evaluation.significance import (
    bootstrap_means,
    detectable_effect,
    holm,
    intervals,
    paired_intervals,
    randomisation_p,
)


def sample(seed=0, n_users=300, columns=2):
    return np.random.default_rng(seed).beta(0.3, 2, (n_users, columns))


def test_interval_agrees_with_scipy():
    values = sample()
    ours = intervals(values, n_resamples=4000, seed=3)
    for column, interval in enumerate(ours):
        theirs = stats.bootstrap(
            (values[:, column],),
            np.mean,
            n_resamples=4000,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        error = values[:, column].std() / np.sqrt(len(values))
        assert interval.value == pytest.approx(values[:, column].mean())
        # Two Monte Carlo estimates of a quantile differ by about .05 standard errors.
        assert interval.low == pytest.approx(theirs.low, abs=0.2 * error)
        assert interval.high == pytest.approx(theirs.high, abs=0.2 * error)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        interval = intervals(sample(seed, 120, 1), level=0.9, n_resamples=300, seed=seed)[0]
        covered += interval.low <= 0.3 / 2.3 <= interval.high
    assert 165 <= covered <= 194  # 180 expected, standard deviation 4


def test_weighted_mean_is_a_ratio_of_sums():
    values, weights = sample(1), np.random.default_rng(2).integers(1, 9, (300, 2)).astype(float)
    interval = intervals(values, weights)[0]
    assert interval.value == pytest.approx((values * weights)[:, 0].sum() / weights[:, 0].sum())
    assert interval.low < interval.value < interval.high
    # Two equal users with weight 1 are one user with weight 2, for the mean of any resample.
    assert bootstrap_means(values, weights * 7)[:, 0] == pytest.approx(
        bootstrap_means(values, weights)[:, 0]
    )


def test_paired_resamples_cancel_what_both_share():
    base = sample(4)
    better = base + 0.01
    for interval in paired_intervals(better, base):
        assert interval.low == pytest.approx(0.01)
        assert interval.high == pytest.approx(0.01)
    difference = bootstrap_means(better) - bootstrap_means(base)
    np.testing.assert_allclose(difference, 0.01)


def test_everything_follows_the_seed():
    values, base = sample(1), sample(2)
    first = bootstrap_means(values, seed=5)
    np.testing.assert_array_equal(first, bootstrap_means(values, seed=5))
    assert (first != bootstrap_means(values, seed=6)).any()
    p = randomisation_p(values, base, seed=5, n_resamples=500)
    np.testing.assert_array_equal(p, randomisation_p(values, base, seed=5, n_resamples=500))


def test_randomisation_agrees_with_enumeration():
    values, base = sample(1, 10, 1), sample(7, 10, 1)
    difference = (values - base)[:, 0]
    observed = abs(difference.sum())
    sums = [abs(np.dot(signs, difference)) for signs in product([-1, 1], repeat=10)]
    exact = np.mean([value >= observed - 1e-12 for value in sums])
    estimate = randomisation_p(values, base, n_resamples=20_000)[0]
    assert estimate == pytest.approx(exact, abs=0.02)


def test_randomisation_separates_and_does_not_invent():
    base = sample(3)
    assert randomisation_p(base + 0.05, base, n_resamples=999)[0] == pytest.approx(1 / 1000)
    assert randomisation_p(base, base, n_resamples=99).tolist() == [1, 1]
    rejected = [
        randomisation_p(sample(s, 60, 1), sample(s + 500, 60, 1), n_resamples=199)[0] <= 0.05
        for s in range(200)
    ]
    assert 2 <= sum(rejected) <= 21  # 10 expected, standard deviation 3


def test_holm_by_hand():
    # 4 tests: .01 x 4, .02 x 3, .03 x 2, and .5 stays.
    adjusted = holm(np.array([0.03, 0.01, 0.5, 0.02]))
    np.testing.assert_allclose(adjusted, [0.06, 0.04, 0.5, 0.06])
    assert holm(np.array([])).shape == (0,)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=20))
def test_holm_is_monotone_bounded_and_never_smaller(p_values):
    p_values = np.array(p_values)
    adjusted = holm(p_values)
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(1, p_values * len(p_values)) + 1e-12).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_detectable_effect_is_found_with_its_power():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(400, 1))
    noise = rng.normal(size=(400, 1))
    effect = detectable_effect(base + noise, base)[0]
    assert effect == pytest.approx((1.96 + 0.8416) * noise.std(ddof=1) / 20, rel=1e-3)
    found = 0
    for _ in range(200):
        draw = rng.normal(size=400) + effect
        found += abs(draw.mean()) > 1.96 * draw.std(ddof=1) / 20
    assert 140 <= found <= 180  # 160 expected, standard deviation 6


@pytest.mark.parametrize(
    ("values", "weights"),
    [(np.zeros((0, 2)), None), (np.zeros(3), None), (np.zeros((3, 2)), np.ones((3, 1)))],
)
def test_bad_tables_are_refused(values, weights):
    with pytest.raises(DataError, match="resampling needs"):
        intervals(values, weights)


def test_unpaired_tables_are_refused():
    with pytest.raises(DataError, match="same users"):
        paired_intervals(np.zeros((3, 1)), np.zeros((4, 1)))
