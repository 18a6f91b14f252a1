"""The hybrid scorer, and the shared stage that trains its backbone."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones import FactorBackbone, build
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.fit import METRIC, fit_backbone
from warmstart.backbones.ials import IalsConfig
from warmstart.backbones.vectors import collaborative_vectors
from warmstart.core import FitContext
from warmstart.rank import by_user, mean_metric
from warmstart.run import Run
from warmstart.simulate.calibration import ColdCalibration
from warmstart.simulate.fusion import ScoreFusion
from warmstart.simulate.hybrid import HybridScorer

CONFIGS = {
    "bpr": BprConfig(width=12, epochs=40, learning_rate=0.2, negatives=4, validate_every=1),
    "ials": IalsConfig(width=8, epochs=4, alpha=5, l2=3),
    "ease": EaseConfig(l2=5),
}


@pytest.fixture(scope="module", params=CONFIGS)
def backbone(request, world):
    return build(CONFIGS[request.param]).fit(world.data.matrix, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def truth(world):
    """The cold items' interactions of the test part, shape (cold items, n_users)."""
    rows = world.split.cold_test.matrix(*world.data.matrix.shape).T.tocsr()
    return rows[np.flatnonzero(~world.data.warm)]


def context(valid=None, seed=3, folder=None):
    return FitContext(valid, None, np.random.default_rng(seed), Run(folder))


def everything(world):
    return tuple(np.arange(n, dtype=np.int32) for n in world.data.matrix.shape)


def folded_in(backbone, world, rows, **settings):
    hybrid = HybridScorer(backbone, world.data.n_users, **settings)
    hybrid.append(rows)
    return hybrid


def test_warm_scores_are_the_backbones_and_cold_scores_those_of_fold_in(world, backbone, truth):
    users, items = everything(world)
    warm = world.data.warm
    folded = backbone.fold_in(truth)
    hybrid = folded_in(backbone, world, truth)
    scores = hybrid.score(users, items, warm)
    np.testing.assert_allclose(scores[:, warm], backbone.score(users, items[warm]), atol=1e-6)
    np.testing.assert_allclose(scores[:, ~warm], backbone.score_folded(users, folded), atol=1e-6)
    some = np.random.default_rng(0).permutation(items)[:20]
    np.testing.assert_allclose(hybrid.score(users, some, warm), scores[:, some], atol=1e-5)


def test_folded_in_items_score_higher_for_the_right_users(world, backbone, truth):
    hybrid = folded_in(backbone, world, truth)
    liked = np.flatnonzero(~world.data.warm)[truth.getnnz(axis=1) > 0]
    users = world.active_users
    scores = hybrid.score(users, liked, world.data.warm)
    right = world.ideal_scores(users, liked) > 0
    assert np.median(scores[right]) > np.median(scores[~right]) + 0.5 * scores.std()


def test_a_fusion_weights_both_scorers_and_scales_items_by_their_norm(world, backbone, truth):
    users, items = everything(world)
    text = np.random.default_rng(1).normal(size=truth.shape).astype(np.float32)
    folded = backbone.score_folded(users, backbone.fold_in(truth)).T
    fusion = ScoreFusion.fit(0.4, 0.5, folded, text)
    hybrid = HybridScorer(backbone, world.data.n_users, fusion)
    hybrid.append(truth, text)
    found = hybrid.score(users, items[~world.data.warm], world.data.warm).T
    raw = 0.6 * folded / folded.std() + 0.4 * text / text.std()
    norms = np.linalg.norm(raw, axis=1)
    expected = raw * np.sqrt(norms.mean() / norms)[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_items_that_are_not_folded_in_score_nan(world, backbone, truth):
    users, items = everything(world)
    warm, n_cold = world.data.warm, int((~world.data.warm).sum())
    hybrid = HybridScorer(backbone, world.data.n_users)
    hybrid.append_unscored(n_cold)
    np.testing.assert_array_equal(
        np.isnan(hybrid.score(users, items, warm)), np.tile(~warm, (len(users), 1))
    )
    hybrid.refold(np.arange(3), truth[:3])
    cold = np.flatnonzero(~warm)
    np.testing.assert_array_equal(
        hybrid.score(users, cold[:3], warm),
        backbone.score_folded(users, backbone.fold_in(truth[:3])),
    )
    assert np.isnan(hybrid.score(users, cold[3:], warm)).all()


def test_a_restored_scorer_scores_and_folds_in_the_same(world, backbone, truth):
    text = np.random.default_rng(1).normal(size=truth.shape).astype(np.float32)
    hybrid = HybridScorer(backbone, world.data.n_users, ScoreFusion(0.4, 0.5, 2.0, 3.0, 4.0))
    factors = np.linspace(1, 2, world.data.n_users, dtype=np.float32)
    hybrid.calibration = ColdCalibration(factors, 3 * factors)
    hybrid.append(truth, text)
    restored = HybridScorer.restore(backbone.config, hybrid.state())
    for scorer in (hybrid, restored):
        scorer.append(truth[:2], text[:2])
    users, _ = everything(world)
    warm = np.concatenate([world.data.warm, [False, False]])
    items = np.arange(len(warm), dtype=np.int32)
    np.testing.assert_array_equal(
        restored.score(users, items, warm), hybrid.score(users, items, warm)
    )


def test_two_methods_with_one_seed_share_the_backbone(world):
    config = CONFIGS["bpr"]
    used = context()
    first = fit_backbone(config, world.data, used)
    used.rng.random(10)
    np.testing.assert_array_equal(
        first.vectors[0], fit_backbone(config, world.data, context()).vectors[0]
    )
    other = fit_backbone(config, world.data, context(seed=4))
    assert (first.vectors[0] != other.vectors[0]).any()


def test_the_stage_is_reused_from_the_run_folder(world, tmp_path):
    valid = world.split.validation()
    first = fit_backbone(CONFIGS["bpr"], world.data, context(valid, folder=tmp_path))
    (log,) = tmp_path.glob("*/log.jsonl")
    before = log.with_name("checkpoint.json").read_bytes()
    again = fit_backbone(CONFIGS["bpr"], world.data, context(valid, folder=tmp_path))
    np.testing.assert_array_equal(first.vectors[1], again.vectors[1])
    assert log.with_name("checkpoint.json").read_bytes() == before
    for other in (
        lambda: fit_backbone(CONFIGS["bpr"], world.data, context(valid, 9, tmp_path)),
        lambda: fit_backbone(CONFIGS["bpr"], world.data, context(None, folder=tmp_path)),
        lambda: fit_backbone(CONFIGS["bpr"], world.split.dataset, context(valid, folder=tmp_path)),
        lambda: fit_backbone(
            CONFIGS["bpr"].model_copy(update={"l2": 0.1}),
            world.data,
            context(valid, folder=tmp_path),
        ),
    ):
        found = len(list(tmp_path.iterdir()))
        other()
        assert len(list(tmp_path.iterdir())) == found + 1, (
            "a fit that differs must have a folder of its own"
        )


def test_epochs_are_chosen_on_the_warm_slice_and_a_refit_with_them_is_the_same(world):
    valid = world.split.validation()
    chosen = fit_backbone(CONFIGS["bpr"], world.data, context(valid))
    value = mean_metric(by_user(chosen.score), valid["warm"], METRIC)
    assert chosen.chosen_config.epochs < CONFIGS["bpr"].epochs
    for epochs in (1, chosen.chosen_config.epochs + 1):
        config = CONFIGS["bpr"].model_copy(update={"epochs": epochs})
        other = fit_backbone(config, world.data, context())
        assert mean_metric(by_user(other.score), valid["warm"], METRIC) <= value
    refit = fit_backbone(chosen.chosen_config, world.data, context())
    np.testing.assert_array_equal(refit.vectors[0], chosen.vectors[0])


def test_every_backbone_has_collaborative_vectors(world, backbone):
    train = world.data.matrix
    users, items = collaborative_vectors(backbone, train, 6)
    assert (len(users), len(items)) == train.shape
    assert users.shape[1] == items.shape[1]
    if isinstance(backbone, FactorBackbone):
        assert users is backbone.vectors[0]
        return
    assert users.shape[1] == 6
    assert (users.dtype, items.dtype) == (np.float32, np.float32)
    scores = users[world.active_users] @ items[world.data.warm].T
    right = world.ideal_scores(world.active_users, np.flatnonzero(world.data.warm)) > 0
    assert np.median(scores[right]) > np.median(scores[~right]) + 0.5 * scores.std()
    narrow = collaborative_vectors(backbone, sparse.csr_matrix(train[:4]), 100)
    assert narrow[0].shape == (4, 3)
