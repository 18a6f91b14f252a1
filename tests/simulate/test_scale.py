"""Two models beside each other, and the constant between their scales."""

from itertools import product

import numpy as np
import pytest

from warmstart.data.interactions import Interactions, concatenate
from warmstart.errors import ConfigError
from warmstart.rank import mean_metric
from warmstart.simulate.scale import (
    OWNS,
    SCALES,
    ScaledConfig,
    cannot_score,
    fit_scale,
    reference_items,
    score_beside,
)


@pytest.fixture(params=[0, 1, 2])
def models(request, world):
    """Warm and cold scores: what validation holds under noise, on scales far apart."""
    rng = np.random.default_rng(request.param)
    shape = world.data.matrix.shape
    parts = concatenate([world.split.warm_valid, world.split.cold_valid])
    truth = parts.matrix(*shape).toarray()
    warm, cold = (scale * (truth + rng.normal(0, 0.5, shape)) for scale in (5, 0.3))
    tables = [table.astype(np.float32) for table in (warm, cold)]
    return [lambda u, i, table=table: table[np.ix_(u, i)] for table in tables]


def test_each_side_comes_from_its_own_model(world):
    warm = world.data.warm
    users, items = np.array([3, 1], np.int32), np.random.default_rng(0).permutation(len(warm))
    asked = []

    def side(sign):
        def score(u, i):
            asked.append(i)
            return sign * (u[:, None] * 100 + i[None, :]).astype(np.float32)

        return score

    found = score_beside(users, items, warm, side(1), side(-1))
    plain = users[:, None] * 100 + items[None, :]
    np.testing.assert_array_equal(found, np.where(warm[items], plain, -plain))
    assert found.dtype == np.float32
    assert warm[asked[0]].all()
    assert not warm[asked[1]].any()


def test_a_side_without_items_is_not_asked(world):
    warm = np.flatnonzero(world.data.warm)
    ones = lambda u, i: np.ones((len(u), len(i)), np.float32)  # noqa: E731
    users = np.arange(2)
    assert score_beside(users, warm, world.data.warm, ones, lambda u, i: 1 / 0).all()  # pyright: ignore
    nothing = score_beside(users, warm[:0], world.data.warm, lambda u, i: 1 / 0, ones)  # pyright: ignore
    assert nothing.shape == (2, 0)
    assert np.isnan(cannot_score(users, warm)).all()


def reference(models, world):
    rows = np.flatnonzero(~world.data.warm)
    return models[1](np.arange(world.data.n_users), rows).T


def fitted(models, world, valid, config=None, volumes=None):
    """``volumes`` makes every user's cold scores larger or smaller."""
    volumes = np.ones(world.data.n_users, np.float32) if volumes is None else volumes
    score_warm, score_cold = models
    louder = lambda u, i: score_cold(u, i) * volumes[u][:, None]  # noqa: E731
    everything = reference(models, world) * volumes
    return fit_scale(config or ScaledConfig(), score_warm, louder, everything, world.data, valid)


def test_chosen_constants_are_the_best_of_the_grid(world, models):
    valid, warm = world.split.validation(), world.data.warm
    score_warm, score_cold = models

    def value(scale, own):
        factors, none = fitted(models, world, None, ScaledConfig(scale=scale, own=own))
        assert not none

        def score(users, items):
            return score_beside(
                users, items, warm, score_warm, lambda u, i: factors.apply(u, score_cold(u, i))
            )

        return mean_metric(score, valid["overall"], "ndcg@20")

    values = {pair: value(*pair) for pair in product(SCALES, OWNS)}
    factors, chosen = fitted(models, world, valid)
    best = (chosen["scale"], chosen["own"])
    assert values[best] == pytest.approx(max(values.values()), abs=1e-12)
    same, _ = fitted(models, world, None, ScaledConfig(scale=best[0], own=best[1]))
    np.testing.assert_array_equal(factors.factors, same.factors)
    # It matters: at neither end of the grid is it as good.
    ends = [values[end, own] for end in (SCALES[0], SCALES[-1]) for own in OWNS]
    assert values[best] > max(ends)


def test_volumes_of_users_cold_scores_make_no_difference(world, models):
    valid, rng = world.split.validation(), np.random.default_rng(5)
    volumes = np.exp(rng.normal(0, 2, world.data.n_users)).astype(np.float32)
    plain, chosen = fitted(models, world, valid)
    scaled, again = fitted(models, world, valid, volumes=volumes)
    assert again == chosen
    np.testing.assert_allclose(scaled.factors * volumes, plain.factors, rtol=1e-4)


@pytest.mark.parametrize("own", [0.0, 1.0])
def test_spreads_of_cold_scores_come_out_at_those_of_unseen_warm_ones(world, models, own):
    data = world.data
    scale, _ = fitted(models, world, None, ScaledConfig(scale=0.5, own=own))
    users, items = np.arange(data.n_users, dtype=np.int32), np.flatnonzero(data.warm)
    found = scale.apply(users, reference(models, world).T).std(axis=1)
    warm = np.where(data.matrix[:, items].toarray() > 0, np.nan, models[0](users, items))
    spreads = np.nanstd(warm, axis=1)
    expected = spreads if own else np.full(len(users), np.median(spreads))
    np.testing.assert_allclose(found, 0.5 * expected, rtol=1e-4)


def test_a_user_whose_cold_scores_are_all_alike_gets_finite_ones(world, models):
    score_warm, _ = models
    flat = np.zeros((9, world.data.n_users), np.float32)
    zero = lambda u, i: np.zeros((len(u), len(i)), np.float32)  # noqa: E731
    scale, _ = fit_scale(ScaledConfig(), score_warm, zero, flat, world.data, None)
    assert np.isfinite(scale.factors).all()
    assert (scale.factors > 0).all()


def test_grid_is_fine_and_wide():
    assert len(SCALES) == len(set(SCALES))
    assert (SCALES[0], SCALES[-1]) == (2**-4, 2**4)
    assert 1.0 in SCALES
    np.testing.assert_allclose(np.diff(np.log2(SCALES)), 0.25)


def test_without_the_overall_slice_it_is_a_clear_error(world, models):
    valid = {name: task for name, task in world.split.validation().items() if name != "overall"}
    with pytest.raises(ConfigError, match=r"overall.*\['cold', 'warm'\]"):
        fitted(models, world, valid)


def test_spreads_are_measured_on_cold_items_where_there_are_any(world):
    np.testing.assert_array_equal(reference_items(world.data), np.flatnonzero(~world.data.warm))
    bought = world.data.with_interactions(
        Interactions.of(np.zeros(world.data.n_items, int), np.arange(world.data.n_items))
    )
    np.testing.assert_array_equal(reference_items(bought), np.arange(world.data.n_items))
