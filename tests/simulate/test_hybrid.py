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
from warmstart.simulate.hybrid import HybridScorer, can_score
from warmstart.simulate.user_scores import UserScores

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


def append(hybrid, interactions, user_scores=None):
    if isinstance(user_scores, np.ndarray):
        user_scores = UserScores(user_scores)
    hybrid.append(hybrid.rows_of(hybrid.backbone.fold_in(interactions), user_scores))


def folded_in(backbone, world, interactions, **settings):
    hybrid = HybridScorer(backbone, world.data.n_users, **settings)
    append(hybrid, interactions)
    return hybrid


def cold_scores(hybrid, users, rows=None):
    """Calibrated scores of the cold items with these rows, or of all."""
    rows = hybrid.rows(np.arange(len(hybrid.folded))) if rows is None else rows
    return hybrid.score_rows(hybrid.user_states(users), rows)


def test_cold_scores_are_those_of_fold_in_alone_and_among_others(world, backbone, truth):
    users, _ = everything(world)
    hybrid = folded_in(backbone, world, truth)
    scores = cold_scores(hybrid, users)
    expected = backbone.score_folded(users, backbone.fold_in(truth))
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    some = np.random.default_rng(0).permutation(len(hybrid.folded))[:5]
    found = cold_scores(hybrid, users[::-1], hybrid.rows(some))
    np.testing.assert_allclose(found, scores[::-1, some], atol=1e-5)


def test_folded_in_items_score_higher_for_the_right_users(world, backbone, truth):
    hybrid = folded_in(backbone, world, truth)
    has_users = np.flatnonzero(truth.getnnz(axis=1) > 0)
    liked = np.flatnonzero(~world.data.warm)[has_users]
    users = world.active_users
    scores = cold_scores(hybrid, users, hybrid.rows(has_users))
    right = world.ideal_scores(users, liked) > 0
    assert np.median(scores[right]) > np.median(scores[~right]) + 0.5 * scores.std()


def test_a_fusion_weights_both_scorers_and_scales_items_by_their_norm(world, backbone, truth):
    users, _ = everything(world)
    text = np.random.default_rng(1).normal(size=truth.shape).astype(np.float32)
    folded = backbone.score_folded(users, backbone.fold_in(truth)).T
    fusion = ScoreFusion.fit(0.4, 0.5, folded, text)
    hybrid = HybridScorer(backbone, world.data.n_users, fusion)
    append(hybrid, truth, text)
    before = hybrid.text_scores.values.copy(), hybrid.folded.copy()
    found = cold_scores(hybrid, users).T
    raw = 0.6 * folded / folded.std() + 0.4 * text / text.std()
    norms = np.linalg.norm(raw, axis=1)
    expected = raw * np.sqrt(norms.mean() / norms)[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(hybrid.text_scores.values, before[0])
    np.testing.assert_array_equal(hybrid.folded, before[1])


def test_a_history_has_the_means_of_similar_users_where_only_these_are_known(
    world, backbone, truth
):
    if not backbone.folds_in_users:
        pytest.skip("only backbones that fold in users have states of histories")
    rng, n_users = np.random.default_rng(1), world.data.n_users
    text = rng.normal(size=truth.shape).astype(np.float32)
    factors = rng.uniform(1, 2, n_users).astype(np.float32)
    calibration = ColdCalibration(factors, np.full(n_users, np.inf, np.float32))
    hybrid = HybridScorer(backbone, n_users, ScoreFusion(0.4, 1.0, 2.0, 3.0), calibration)
    append(hybrid, truth, text)
    histories = world.data.matrix[[3, 8]]
    weights = sparse.csr_matrix((2, n_users), dtype=np.float32).tolil()
    weights[0, 1], weights[0, 5], weights[1, 2] = 0.25, 0.75, 1
    weights = weights.tocsr()
    rows = hybrid.rows(np.arange(truth.shape[0]))
    found = hybrid.score_rows(hybrid.history_states(histories, weights), rows)
    folded = backbone.score_folded_states(backbone.history_states(histories), hybrid.folded)
    fused = 0.6 * folded / 2 + 0.4 * (weights @ text.T) / 3
    np.testing.assert_allclose(found, fused * (weights @ factors)[:, None], rtol=1e-4, atol=1e-5)


def test_items_that_are_not_folded_in_score_nan(world, backbone, truth):
    users, _ = everything(world)
    hybrid = HybridScorer(backbone, world.data.n_users)
    hybrid.append(hybrid.unscored_rows(truth.shape[0]))
    positions = np.arange(truth.shape[0])
    assert np.isnan(hybrid.score_cold(users, positions)).all()
    hybrid.refold(np.arange(3), truth[:3])
    scores = hybrid.score_cold(users, positions)
    expected = backbone.score_folded(users, backbone.fold_in(truth[:3]))
    np.testing.assert_allclose(scores[:, :3], expected, atol=1e-6)
    assert np.isnan(scores[:, 3:]).all()
    np.testing.assert_array_equal(can_score(hybrid.rows(positions)), positions < 3)


def test_a_restored_scorer_scores_and_folds_in_the_same(world, backbone, truth):
    text = np.random.default_rng(1).normal(size=truth.shape).astype(np.float32)
    hybrid = HybridScorer(backbone, world.data.n_users, ScoreFusion(0.4, 0.5, 2.0, 3.0, 4.0))
    factors = np.linspace(1, 2, world.data.n_users, dtype=np.float32)
    hybrid.calibration = ColdCalibration(factors, 3 * factors)
    append(hybrid, truth, text)
    restored = HybridScorer.restore(backbone.config, hybrid.state())
    for scorer in (hybrid, restored):
        append(scorer, truth[:2], text[:2])
    users, _ = everything(world)
    np.testing.assert_array_equal(cold_scores(restored, users), cold_scores(hybrid, users))


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
