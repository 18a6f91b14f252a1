"""Metrics of predicted labels, compared with loops over pairs, scipy and numbers by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from warmstart.errors import ConfigError, DataError
from warmstart.evaluation.labels import (
    auc,
    auc_interval,
    bootstrap_auc,
    expected_calibration_error,
    log_loss,
    log_losses,
    user_auc,
)
from warmstart.evaluation.significance import paired_intervals


def sample(seed=0, pairs=400, n_users=20, signal=1.0):
    """Labels, scores with ties and users; users differ in their rate of likes."""
    rng = np.random.default_rng(seed)
    users = rng.integers(n_users, size=pairs)
    labels = rng.random(pairs) < 0.2 + 0.6 * (users % 5) / 4
    scores = np.round(signal * labels + rng.normal(size=pairs), 1)
    return labels, scores, users


def auc_by_loop(labels, scores):
    won = [(p > n) + (p == n) / 2 for p in scores[labels] for n in scores[~labels]]
    return np.mean(won)


def test_auc_by_hand():
    labels = np.array([True, False, True, False])
    assert auc(labels, np.array([4.0, 3.0, 2.0, 1.0])) == 0.75
    assert auc(labels, np.array([4.0, 1.0, 3.0, 2.0])) == 1
    assert auc(~labels, np.array([4.0, 1.0, 3.0, 2.0])) == 0
    assert auc(labels, np.zeros(4)) == 0.5
    assert auc(labels, np.array([1.0, 1.0, 0.0, 0.0])) == 0.5
    assert auc(labels, np.array([np.inf, 0.0, 0.0, -np.inf])) == pytest.approx(3.5 / 4)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_auc_equals_the_loop_and_the_rank_test(rows):
    labels, scores = np.array([y for y, _ in rows]), np.array([s for _, s in rows], np.float32)
    assert auc(labels, scores) == pytest.approx(auc_by_loop(labels, scores))
    statistic = stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert auc(labels, scores) == pytest.approx(statistic / labels.sum() / (~labels).sum())
    assert auc(labels, -scores) == pytest.approx(1 - auc(labels, scores))


def test_user_auc_equals_auc_of_each_user():
    labels, scores, users = sample()
    users = users * 7 + 3  # row numbers of any size
    labels[users == users[0]] = True
    found = user_auc(labels, scores, users)
    expected = {}
    for user in np.unique(users):
        own = users == user
        if len(np.unique(labels[own])) == 2:
            expected[user] = (auc(labels[own], scores[own]), own.sum())
    assert users[0] not in found.users
    assert found.users.tolist() == list(expected)
    np.testing.assert_allclose(found.values, [value for value, _ in expected.values()])
    assert found.pairs.tolist() == [size for _, size in expected.values()]
    assert found.mean == pytest.approx(found.values.mean())
    assert found.mean_by_pairs == pytest.approx(
        sum(value * size for value, size in expected.values()) / found.pairs.sum()
    )


def test_the_two_means_of_users_differ_as_they_should():
    labels = np.array([True, False, True, False, False, False])
    scores = np.array([1.0, 0.0, 0.0, 1.0, 2.0, 3.0])
    found = user_auc(labels, scores, np.array([0, 0, 1, 1, 1, 1]))
    assert found.values.tolist() == [1, 0]
    assert found.mean == 0.5
    assert found.mean_by_pairs == pytest.approx(2 / 6)


def test_user_auc_does_not_see_what_separates_users_only():
    labels, _, users = sample(pairs=4000)
    by_user = (users % 5).astype(float)
    assert auc(labels, by_user) > 0.7
    assert user_auc(labels, by_user, users).mean == 0.5


def test_user_auc_is_biased_against_counts_of_the_labels_before():
    # Random labels of 500 users, eight each, and for each pair the likes among those before it.
    labels = np.random.default_rng(0).random((500, 8)) < 0.5
    before = np.cumsum(labels, axis=1) - labels
    scores = before / (np.arange(8) + 2)
    users = np.repeat(np.arange(500), 8)
    assert user_auc(labels.ravel(), scores.ravel(), users).mean < 0.4
    assert 0.47 < auc(labels.ravel(), scores.ravel()) < 0.53


def test_users_without_both_labels_leave_nothing():
    found = user_auc(np.array([True, False]), np.array([1.0, 0.0]), np.array([0, 1]))
    assert len(found.users) == 0
    assert np.isnan(found.mean)
    assert np.isnan(found.mean_by_pairs)


def test_values_of_users_pair_two_methods():
    labels, scores, users = sample()
    better = scores + 0.5 * labels
    first, second = user_auc(labels, better, users), user_auc(labels, scores, users)
    np.testing.assert_array_equal(first.users, second.users)
    interval = paired_intervals(first.values[:, None], second.values[:, None])[0]
    assert 0 < interval.low < interval.value < interval.high


def test_log_loss_by_hand():
    labels, probabilities = np.array([True, False, True]), np.array([0.5, 0.25, 0.0])
    losses = log_losses(labels, probabilities)
    np.testing.assert_allclose(losses, [np.log(2), -np.log(0.75), -np.log(1e-7)])
    assert log_loss(labels, probabilities) == pytest.approx(losses.mean())
    assert log_losses(~labels, np.array([0.0, 0.0, 1.0]))[2] == pytest.approx(-np.log(1e-7))


def test_the_true_probability_has_the_lowest_log_loss():
    rng = np.random.default_rng(0)
    truth = rng.random(20_000)
    labels = rng.random(20_000) < truth
    true_loss = log_loss(labels, truth)
    for other in (truth**2, np.sqrt(truth), np.full(20_000, 0.5)):
        assert log_loss(labels, other) > true_loss + 0.01


def test_calibration_error_by_hand():
    labels = np.array([False, True, True, True, True])
    stated = np.array([0.1, 0.1, 0.9, 0.9, 1.0])
    # Equal width. Bin .1: predicted sum .2, observed 1. Bin .9: predicted sum 2.8, observed 3.
    by_width = expected_calibration_error(labels, stated, bins="width")
    assert by_width == pytest.approx((0.8 + 0.2) / 5)
    # Two bins of equal mass: the middle ranks of .1 and .9 are in the first, that of 1 is not.
    by_mass = expected_calibration_error(labels, np.array([0.1, 0.1, 0.2, 0.9, 1.0]), n_bins=2)
    assert by_mass == pytest.approx((abs(0.4 - 2) + abs(1.9 - 2)) / 5)


def test_bins_of_equal_mass_do_not_depend_on_the_order_and_keep_ties_together():
    rng = np.random.default_rng(0)
    probabilities = np.round(rng.random(1000) ** 3, 2)
    labels = rng.random(1000) < probabilities
    order = rng.permutation(1000)
    error = expected_calibration_error(labels, probabilities)
    assert expected_calibration_error(labels[order], probabilities[order]) == pytest.approx(error)
    constant = np.full(1000, 0.3)
    assert expected_calibration_error(labels, constant) == pytest.approx(abs(0.3 - labels.mean()))


def test_bins_of_equal_mass_show_what_equal_widths_hide():
    # All probabilities lie in one bin of equal width; the errors of two halves cancel in it.
    labels = np.repeat([True, False], 500)
    probabilities = np.concatenate([np.full(500, 0.41), np.full(500, 0.59)])
    probabilities = np.clip(probabilities, 0.4, 0.4999)
    assert expected_calibration_error(labels, probabilities, bins="width") < 0.1
    assert expected_calibration_error(labels, probabilities) > 0.5


def test_calibration_error_tells_honest_from_overconfident():
    rng = np.random.default_rng(0)
    truth = rng.random(20_000)
    labels = rng.random(20_000) < truth
    assert expected_calibration_error(labels, truth) < 0.02
    assert expected_calibration_error(labels, np.where(truth > 0.5, 0.99, 0.01)) > 0.2


def test_resampled_auc_equals_the_auc_of_repeated_pairs():
    labels, scores, users = sample(pairs=120, n_users=9)
    found = bootstrap_auc(labels, scores, users, n_resamples=30, seed=4)
    drawn = np.random.default_rng(4).integers(9, size=(30, 9))
    known = np.unique(users)
    for value, resample in zip(found, drawn, strict=True):
        rows = np.concatenate([np.flatnonzero(users == known[at]) for at in resample])
        assert value == pytest.approx(auc(labels[rows], scores[rows]))


def test_the_interval_contains_the_auc_and_pairs_two_methods():
    labels, scores, users = sample()
    interval = auc_interval(labels, scores, users)
    assert interval.value == auc(labels, scores)
    assert interval.low < interval.value < interval.high
    wide = auc_interval(labels, scores, users, level=0.99)
    assert wide.low < interval.low
    assert wide.high > interval.high
    better = scores + 0.3 * labels
    difference = bootstrap_auc(labels, better, users) - bootstrap_auc(labels, scores, users)
    assert difference.std() < bootstrap_auc(labels, scores, users).std() / 2


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth = stats.norm.cdf(1 / np.sqrt(2))  # of two normal distributions one apart
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = rng.random(600) < 0.5
        scores = labels + rng.normal(size=600)
        users = np.arange(600) // 6
        interval = auc_interval(labels, scores, users, level=0.9, n_resamples=300, seed=seed)
        covered += interval.low <= truth <= interval.high
    assert 80 <= covered <= 98  # 90 expected, standard deviation 3


def test_users_whose_labels_depend_widen_the_interval():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random(60) < 0.5, 20)  # the 20 pairs of a user have one label
    scores = labels + np.repeat(rng.normal(size=60), 20)
    users = np.repeat(np.arange(60), 20)
    by_user = auc_interval(labels, scores, users)
    by_pair = auc_interval(labels, scores, np.arange(1200))
    assert by_user.high - by_user.low > 3 * (by_pair.high - by_pair.low)


def test_resamples_with_one_label_are_left_out():
    labels, scores = np.array([True, False]), np.array([1.0, 0.0])
    values = bootstrap_auc(labels, scores, np.array([0, 1]), n_resamples=200)
    assert 60 < np.isnan(values).sum() < 140
    interval = auc_interval(labels, scores, np.array([0, 1]))
    assert (interval.low, interval.value, interval.high) == (1, 1, 1)


def test_bad_input_is_named():
    labels, scores, users = sample()
    with pytest.raises(DataError, match=r"auc: labels have shape \(400,\), predictions \(3,\)"):
        auc(labels, scores[:3])
    with pytest.raises(DataError, match=r"labels must be 0 or 1, got \[2\]"):
        auc(labels * 2, scores)
    with pytest.raises(DataError, match="1 of 400 predictions are NaN"):
        user_auc(labels, np.where(np.arange(400) == 7, np.nan, scores), users)
    with pytest.raises(DataError, match="400 pairs whose labels are all equal have no AUC"):
        auc(np.ones(400, bool), scores)
    with pytest.raises(DataError, match="labels are all equal"):
        bootstrap_auc(np.zeros(400, bool), scores, users)
    with pytest.raises(DataError, match=r"users have shape \(5,\); allowed: \(400,\)"):
        user_auc(labels, scores, users[:5])
    with pytest.raises(DataError, match=r"log_losses: probabilities must be between 0 and 1"):
        log_loss(labels, scores)
    with pytest.raises(ConfigError, match="n_bins must be a whole number from 1, got 0"):
        expected_calibration_error(labels, labels.astype(float), n_bins=0)
