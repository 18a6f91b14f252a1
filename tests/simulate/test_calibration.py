"""Scores of warm and cold items from two models, and their calibration."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import sparse

from warmstart import from_frames
from warmstart.data.interactions import concatenate
from warmstart.data.queries import Queries
from warmstart.data.tasks import RankingTask
from warmstart.errors import ConfigError
from warmstart.rank import by_user, mean_metric
from warmstart.simulate.calibration import (
    COLD_WEIGHTS,
    USER_STD_EXPONENTS,
    CalibrationConfig,
    cannot_score,
    fit_calibration,
    reference_items,
    score_warm_and_cold,
)


@pytest.fixture(params=[0, 1, 2])
def models(request, world):
    """Score functions of warm and cold items: the validation pairs plus noise, on two scales."""
    rng = np.random.default_rng(request.param)
    shape = world.data.matrix.shape
    parts = concatenate([world.split.warm_valid, world.split.cold_valid])
    truth = parts.matrix(*shape).toarray()
    warm, cold = (scale * (truth + rng.normal(0, 0.5, shape)) for scale in (5, 0.3))
    tables = [table.astype(np.float32) for table in (warm, cold)]
    return [lambda u, i, table=table: table[np.ix_(u, i)] for table in tables]


def test_warm_and_cold_items_are_scored_by_their_models(world):
    warm = world.data.warm
    users, items = np.array([3, 1], np.int32), np.random.default_rng(0).permutation(len(warm))
    scored = []

    def side(sign):
        def score(u, i):
            scored.append(i)
            return sign * (u[:, None] * 100 + i[None, :]).astype(np.float32)

        return score

    found = score_warm_and_cold(users, items, warm, side(1), side(-1))
    plain = users[:, None] * 100 + items[None, :]
    np.testing.assert_array_equal(found, np.where(warm[items], plain, -plain))
    assert found.dtype == np.float32
    assert warm[scored[0]].all()
    assert not warm[scored[1]].any()


def test_a_model_without_items_to_score_is_not_called(world):
    warm = np.flatnonzero(world.data.warm)
    ones = lambda u, i: np.ones((len(u), len(i)), np.float32)  # noqa: E731
    users = np.arange(2)
    assert score_warm_and_cold(users, warm, world.data.warm, ones, lambda u, i: 1 / 0).all()  # pyright: ignore
    nothing = score_warm_and_cold(users, warm[:0], world.data.warm, lambda u, i: 1 / 0, ones)  # pyright: ignore
    assert nothing.shape == (2, 0)
    assert np.isnan(cannot_score(users, warm)).all()


def calibrated(calibration, users, scores):
    return calibration.take(users).calibrate(scores.copy())


def reference(models, world):
    rows = np.flatnonzero(~world.data.warm)
    return models[1](np.arange(world.data.n_users), rows).T


def fitted(models, world, valid, config=None, sizes=None):
    """The fitted calibration; ``sizes`` are factors on each user's cold scores."""
    sizes = np.ones(world.data.n_users, np.float32) if sizes is None else sizes
    score_warm, score_cold = models
    scaled = lambda u, i: score_cold(u, i) * sizes[u][:, None]  # noqa: E731
    scaled_reference = reference(models, world) * sizes
    return fit_calibration(
        config or CalibrationConfig(), score_warm, scaled, scaled_reference, world.data, valid
    )


def test_chosen_constants_are_the_best_of_the_grid(world, models):
    valid, warm = world.split.validation(), world.data.warm
    score_warm, score_cold = models

    def value(weight, exponent):
        factors, chosen = fitted(
            models, world, None, CalibrationConfig(cold_weight=weight, user_std_exponent=exponent)
        )
        assert not chosen

        def score(users, items):
            return score_warm_and_cold(
                users,
                items,
                warm,
                score_warm,
                lambda u, i: calibrated(factors, u, score_cold(u, i)),
            )

        return mean_metric(by_user(score), valid["overall"], "ndcg@20")

    valid["overall"] = replace(valid["overall"], cold_items=None)
    values = {pair: value(*pair) for pair in product(COLD_WEIGHTS, USER_STD_EXPONENTS)}
    factors, chosen = fitted(models, world, valid)
    best = (chosen["cold_weight"], chosen["user_std_exponent"])
    assert values[best] == pytest.approx(max(values.values()), abs=1e-12)
    same, _ = fitted(
        models, world, None, CalibrationConfig(cold_weight=best[0], user_std_exponent=best[1])
    )
    np.testing.assert_array_equal(factors.user_factors, same.user_factors)
    # The choice matters: both ends of the grid are worse.
    ends = [
        values[end, exponent]
        for end in (COLD_WEIGHTS[0], COLD_WEIGHTS[-1])
        for exponent in USER_STD_EXPONENTS
    ]
    assert values[best] > max(ends)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_weight_is_chosen_at_the_number_of_cold_items_in_use(seed):
    """Each cold item has a copy, which only some tasks rank: one candidate stands for two items."""
    n_users, n_warm, n_cold = 400, 40, 60
    rng = np.random.default_rng(seed)
    warm, cold, copies = (np.arange(n) for n in (n_warm, n_cold, n_cold))
    cold, copies = cold + n_warm, copies + n_warm + n_cold
    users = np.arange(n_users)
    names = [f"{row:03d}" for row in range(n_warm + 2 * n_cold)]
    trained = np.zeros((n_users, len(names)), bool)
    trained[:, warm] = rng.random((n_users, n_warm)) < 0.3
    of, clicked = np.nonzero(trained)
    data = from_frames(
        {"user": [f"{user:03d}" for user in of], "item": [names[item] for item in clicked]},
        {"item": names, "title": names},
    )
    truth = np.zeros((n_users, n_warm + 2 * n_cold), bool)
    truth[users, rng.choice(n_warm, n_users)] = True
    truth[users, rng.choice(cold, n_users)] = True
    truth &= ~trained
    scores = (truth + rng.normal(0, 0.5, truth.shape)).astype(np.float32)
    scores[:, copies] = scores[:, cold]
    masked = trained.copy()
    masked[:, copies] |= truth[:, cold]  # the copy of a relevant item is no miss
    kept = truth.any(axis=1)

    def choice(candidates, cold_items=None):
        task = RankingTask(
            "overall",
            Queries.of_users(users[kept].astype(np.int32)),
            candidates.astype(np.int32),
            *(sparse.csr_matrix(pairs[kept]) for pairs in (truth, masked)),
            cold_items=cold_items,
        )
        score = lambda u, i: scores[np.ix_(u, i)]  # noqa: E731
        valid = {"cold": task, "overall": task}
        reference = scores[:, cold].T
        return fit_calibration(CalibrationConfig(), score, score, reference, data, valid)[1]

    everything, own = np.concatenate([warm, cold, copies]), np.concatenate([warm, cold])
    assert choice(own, cold_items=2 * n_cold) == choice(everything)
    assert choice(own, cold_items=2 * n_cold)["cold_weight"] < choice(own)["cold_weight"]
    assert choice(own, cold_items=n_cold) == choice(own)


def test_the_scale_of_a_users_cold_scores_makes_no_difference(world, models):
    valid, rng = world.split.validation(), np.random.default_rng(5)
    sizes = np.exp(rng.normal(0, 2, world.data.n_users)).astype(np.float32)
    plain, chosen = fitted(models, world, valid)
    scaled, again = fitted(models, world, valid, sizes=sizes)
    assert again == chosen
    np.testing.assert_allclose(scaled.user_factors * sizes, plain.user_factors, rtol=1e-4)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_cold_scores_get_the_standard_deviation_of_unseen_warm_scores(world, models, exponent):
    data = world.data
    calibration, _ = fitted(
        models, world, None, CalibrationConfig(cold_weight=0.5, user_std_exponent=exponent)
    )
    users, items = np.arange(data.n_users, dtype=np.int32), np.flatnonzero(data.warm)
    unlimited = replace(calibration, user_limits=np.full(len(users), np.inf, np.float32))
    found = calibrated(unlimited, users, reference(models, world).T).std(axis=1)
    warm = np.where(data.matrix[:, items].toarray() > 0, np.nan, models[0](users, items))
    deviations = np.nanstd(warm, axis=1)
    expected = deviations if exponent else np.full(len(users), np.median(deviations))
    np.testing.assert_allclose(found, 0.5 * expected, rtol=1e-4)


def test_a_user_whose_cold_scores_are_all_equal_gets_a_finite_factor(world, models):
    score_warm, _ = models
    flat = np.zeros((9, world.data.n_users), np.float32)
    zero = lambda u, i: np.zeros((len(u), len(i)), np.float32)  # noqa: E731
    calibration, _ = fit_calibration(CalibrationConfig(), score_warm, zero, flat, world.data, None)
    assert np.isfinite(calibration.user_factors).all()
    assert (calibration.user_factors > 0).all()


def test_the_grid_of_cold_weights_is_fine_and_wide():
    assert len(COLD_WEIGHTS) == len(set(COLD_WEIGHTS))
    assert (COLD_WEIGHTS[0], COLD_WEIGHTS[-1]) == (2**-4, 2**4)
    assert 1.0 in COLD_WEIGHTS
    np.testing.assert_allclose(np.diff(np.log2(COLD_WEIGHTS)), 0.25)


def test_validation_without_the_overall_slice_is_a_clear_error(world, models):
    valid = {name: task for name, task in world.split.validation().items() if name != "overall"}
    with pytest.raises(ConfigError, match=r"overall.*\['cold', 'warm'\]"):
        fitted(models, world, valid)


def test_reference_items_are_cold_items_with_a_text_if_there_are_enough(world):
    data, has_text = world.data, world.data.catalogue.has_text
    few = data.with_interactions(data.interactions.where(data.interactions.items < 20))
    assert int((~few.warm & has_text).sum()) >= 20
    np.testing.assert_array_equal(reference_items(few), np.flatnonzero(~few.warm & has_text))
    assert int((~data.warm).sum()) < 20
    np.testing.assert_array_equal(reference_items(data), np.flatnonzero(data.warm & has_text))
    # One text for all cold items tells nothing about later ones.
    texts = tuple("the same" if not warm else f"text {row}" for row, warm in enumerate(few.warm))
    same = replace(few, catalogue=replace(few.catalogue, texts=texts))
    np.testing.assert_array_equal(reference_items(same), np.flatnonzero(few.warm))


def planted(data, reference, new):
    """Calibrated scores of one new item, for warm scores of about 1 and given cold scores."""
    rng = np.random.default_rng(0)
    warm = rng.normal(size=(data.n_users, data.n_items)).astype(np.float32)
    found, _ = fit_calibration(
        CalibrationConfig(),
        lambda u, i: warm[np.ix_(u, i)],
        lambda u, i: reference[i][:, u].T,
        reference,
        data,
        None,
    )
    return calibrated(found, np.arange(data.n_users), np.float32(new)), warm


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-5])
def test_cold_scores_that_do_not_vary_are_not_blown_up(world, spread):
    """The report of July: cold scores of 131,718 beside warm ones of 1."""
    data = world.data
    rng = np.random.default_rng(1)
    reference = np.float32(0.3 + spread * rng.normal(size=(30, data.n_users)))
    scores, _ = planted(data, reference, np.linspace(-1, 1, 9)[None] * np.ones((data.n_users, 1)))
    assert np.abs(scores).max() <= 5


def test_without_a_chosen_weight_no_cold_score_exceeds_the_warm_ones(world, models):
    _, score_cold = models
    offset = lambda u, i: score_cold(u, i) + 9  # noqa: E731
    data = world.data
    scores = np.ascontiguousarray(offset(np.arange(data.n_users), np.flatnonzero(~data.warm)).T)

    def highest(config):
        found, _ = fit_calibration(config, models[0], offset, scores, data, None)
        return calibrated(found, np.arange(data.n_users), scores.T).max(axis=1)

    warm = models[0](np.arange(data.n_users), np.flatnonzero(data.warm)).max(axis=1)
    assert (highest(CalibrationConfig()) <= warm + 1e-5).all()
    assert (highest(CalibrationConfig(cold_weight=1.0)) > warm).any()


@pytest.mark.parametrize("offset", [-9.0, 0.0, 9.0])
def test_without_a_chosen_weight_no_later_item_exceeds_the_warm_ones(world, models, offset):
    """The report of a flood: every warm text is equal, and a later item has that text too."""
    data, rng = world.data, np.random.default_rng(4)
    users = np.arange(data.n_users)

    def score_warm(u, i):
        return models[0](u, i) + np.float32(offset)

    reference = rng.normal(0.1, 0.1, (30, data.n_users)).astype(np.float32)
    found, _ = fit_calibration(CalibrationConfig(), score_warm, cannot_score, reference, data, None)
    warm = score_warm(users, np.flatnonzero(data.warm)).max(axis=1)
    later = np.sort(np.exp(rng.normal(0, 3, (data.n_users, 20))), axis=1).astype(np.float32)
    scores = calibrated(found, users, later)
    assert (scores <= warm[:, None] + 1e-5 * np.abs(warm[:, None])).all()
    assert (np.diff(scores, axis=1) >= 0).all()


def test_the_score_of_a_later_item_stays_near_the_range_of_the_fit(world):
    data = world.data
    rng = np.random.default_rng(2)
    reference = rng.normal(size=(30, data.n_users)).astype(np.float32)
    new = np.sort(rng.normal(scale=50, size=(data.n_users, 40)), axis=1)
    scores, warm = planted(data, reference, new)
    usual, _ = planted(data, reference, reference.T)
    limit = np.maximum(usual.max(axis=1), warm.max(axis=1))
    assert (scores <= 1.1 * limit[:, None] + 1e-3).all()
    assert (np.diff(scores, axis=1) >= 0).all()  # in the same order
