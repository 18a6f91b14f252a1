"""Two models beside each other, and the constant between their scales."""

import numpy as np
import pytest

from warmstart.data.interactions import concatenate
from warmstart.errors import ConfigError
from warmstart.rank import mean_metric
from warmstart.simulate.scale import GRID, cannot_score, choose_scale, score_beside


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


def test_chosen_scale_is_the_best_of_the_grid(world, models):
    valid, warm = world.split.validation(), world.data.warm
    score_warm, score_cold = models

    def value(scale):
        def score(users, items):
            return score_beside(
                users, items, warm, score_warm, lambda u, i: score_cold(u, i) * np.float32(scale)
            )

        return mean_metric(score, valid["overall"], "ndcg@20")

    values = [value(scale) for scale in GRID]
    chosen = choose_scale(score_warm, score_cold, warm, valid)
    assert value(chosen) == pytest.approx(max(values), abs=1e-12)
    assert chosen == GRID[int(np.argmax(values))]
    # It matters: neither extreme, nor leaving the scales alone, is as good.
    assert value(chosen) > max(values[0], values[-1], value(1.0))


def test_scale_does_not_depend_on_the_scale_of_the_cold_scores(world, models):
    valid, warm = world.split.validation(), world.data.warm
    score_warm, score_cold = models
    plain = choose_scale(score_warm, score_cold, warm, valid)
    halved = choose_scale(score_warm, lambda u, i: score_cold(u, i) / 2, warm, valid)
    assert halved == 2 * plain


def test_grid_is_fine_and_wide():
    assert len(GRID) == len(set(GRID))
    assert (GRID[0], GRID[-1]) == (2**-8, 2**8)
    assert 1.0 in GRID
    np.testing.assert_allclose(np.diff(np.log2(GRID)), 0.25)


def test_without_the_overall_slice_it_is_a_clear_error(world, models):
    valid = {name: task for name, task in world.split.validation().items() if name != "overall"}
    with pytest.raises(ConfigError, match=r"overall.*\['cold', 'warm'\]"):
        choose_scale(*models, world.data.warm, valid)
