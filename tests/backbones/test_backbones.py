"""The contract of every backbone, on the checkerboard."""

import os
import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import sparse

from warmstart.backbones import BACKBONES, BackboneConfig, FactorBackbone, build
from warmstart.errors import ArtefactError, ConfigError, DataError, NotFittedError
from warmstart.methods.cf_only import CFOnly


def fit(config, world, seed=0, **options):
    return build(config).fit(world.train, rng=np.random.default_rng(seed), **options)


def short(config):
    """The same configuration with three epochs only."""
    return config if config.kind == "ease" else config.model_copy(update={"epochs": 3})


def everything(world):
    return np.arange(world.n_users, dtype=np.int32), np.arange(world.n_items, dtype=np.int32)


def fraction_ranked_right(scores, users, items):
    """Mean over users of the fraction of (same, other parity) item pairs in the right order."""
    same = users[:, None] % 2 == items[None, :] % 2
    fractions = [
        np.mean(row[liked][:, None] > row[~liked][None, :])
        for row, liked in zip(scores, same, strict=True)
    ]
    return np.mean(fractions)


def test_every_kind_is_in_the_table_and_survives_json(config):
    adapter = TypeAdapter(BackboneConfig)
    assert adapter.validate_json(config.model_dump_json()) == config
    assert build(config).name == config.kind
    assert set(BACKBONES) == {"bpr", "ials", "ease", "imported", "lightgcn", "ngcf"}


def test_settings_without_a_kind_are_those_of_the_default():
    config = CFOnly(backbone={"epochs": 3}).config.backbone
    assert (config.kind, config.epochs) == (CFOnly().config.backbone.kind, 3)
    with pytest.raises(ConfigError, match=r"backbone: must be one of 'bpr', .*'ngcf', .*got"):
        CFOnly(backbone={"kind": "mf"})


def test_users_prefer_their_own_parity(config, world, fitted_once):
    backbone = fitted_once(config)
    users, items = np.arange(38, dtype=np.int32), np.arange(28, dtype=np.int32)
    scores = backbone.score(users, items)
    assert scores.dtype == np.float32
    assert scores.shape == (38, 28)
    assert fraction_ranked_right(scores, users, items) > 0.98


def test_blocks_and_permutations_of_scores_agree(config, world, fitted_once):
    backbone = fitted_once(config)
    users, items = everything(world)
    whole = backbone.score(users, items)
    order = np.random.default_rng(1).permutation(30).astype(np.int32)
    part = backbone.score(users[5:9], order)
    np.testing.assert_allclose(part, whole[5:9][:, order], rtol=1e-5, atol=1e-5)


def test_rows_without_interactions_score_zero(config, world, fitted_once):
    backbone = fitted_once(config)
    users, items = everything(world)
    scores = backbone.score(users, items)
    assert np.isfinite(scores).all()
    assert (scores[:, list(world.empty_items)] == 0).all()
    assert (scores[list(world.empty_users)] == 0).all()
    if isinstance(backbone, FactorBackbone):
        assert (backbone.vectors[0][list(world.empty_users)] == 0).all()


def test_a_user_with_every_item_and_a_one_item_catalogue_can_be_fitted(config):
    for train in (np.ones((5, 6)), np.ones((3, 1)), np.tri(6)):
        backbone = build(short(config)).fit(
            sparse.csr_matrix(train.astype(np.float32)), rng=np.random.default_rng(0)
        )
        scores = backbone.score(np.arange(train.shape[0]), np.arange(train.shape[1]))
        assert np.isfinite(scores).all()


def test_a_new_item_is_ranked_by_its_users_parity(config, world, fitted_once):
    backbone = fitted_once(config)
    users = np.arange(38, dtype=np.int32)
    folded = backbone.fold_in(world.new)
    scores = backbone.score_folded(users, folded)
    assert scores.dtype == folded.dtype == np.float32
    assert scores.shape == (38, 4)
    assert fraction_ranked_right(scores, users, np.arange(4)) > 0.85


def test_fold_in_changes_no_learned_parameter(config, world, fitted_once):
    backbone = fitted_once(config)
    before = {name: array.copy() for name, array in backbone.state().items()}
    backbone.fold_in(world.new)
    after = backbone.state()
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_an_item_folds_in_the_same_alone_or_among_others(config, world, fitted_once):
    backbone = fitted_once(config)
    together = backbone.fold_in(world.new)
    alone = np.concatenate([backbone.fold_in(world.new[i]) for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_fold_in_shrinks_towards_the_prior(config, world, fitted_once):
    backbone = fitted_once(config)
    no_users = sparse.csr_matrix((2, world.n_users), dtype=np.float32)
    width = backbone.fold_in(no_users).shape[1]
    prior = np.random.default_rng(0).normal(size=(2, width)).astype(np.float32)
    with_prior = backbone.fold_in(world.new[:2], prior=prior)
    without_prior = backbone.fold_in(world.new[:2])
    assert np.linalg.norm(with_prior - prior) < np.linalg.norm(without_prior - prior)
    assert not np.allclose(backbone.fold_in(no_users, prior=prior), 0)
    if config.kind != "ease":
        fixed = backbone.fold_in(world.new[:2], prior=prior, prior_weight=1e6)
        np.testing.assert_allclose(fixed, prior, atol=1e-2)


def test_the_seed_determines_the_fit(config, world):
    users, items = everything(world)
    config = short(config)
    one, same, other = (fit(config, world, seed=s).score(users, items) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    if config.kind == "ease":
        np.testing.assert_array_equal(one, other)
    else:
        assert not np.array_equal(one, other)


def test_fit_does_not_change_the_global_random_state_or_the_data(config, world):
    train = world.train.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    fit(short(config), world)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(train, name), getattr(world.train, name))


def test_state_restores_scores_and_fold_in(config, world, fitted_once):
    backbone = fitted_once(config)
    users, items = everything(world)
    state = {name: array.copy() for name, array in backbone.state().items()}
    again = build(config).restore(state)
    np.testing.assert_array_equal(again.score(users, items), backbone.score(users, items))
    np.testing.assert_array_equal(again.fold_in(world.new), backbone.fold_in(world.new))
    with pytest.raises(ArtefactError, match="lacks"):
        build(config).restore({})


def test_a_killed_fit_resumes_to_the_same_scores(learned_config, world, tmp_path):
    users, items = everything(world)

    def validate(score):
        return float(score(users, items)[0, 0])

    config = learned_config.model_copy(update={"epochs": 4, "validate_every": 1, "patience": 99})
    expected = fit(config, world, validate=validate)
    calls = []

    def interrupted(score):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return validate(score)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", iter(range(0, 10**6, 60)).__next__)  # always checkpoint
        with pytest.raises(KeyboardInterrupt):
            fit(config, world, validate=interrupted, run_folder=tmp_path)
    resumed = []

    def counting(score):
        resumed.append(1)
        return validate(score)

    again = fit(config, world, validate=counting, run_folder=tmp_path)
    assert len(resumed) == 2
    assert again.chosen_config == expected.chosen_config
    np.testing.assert_array_equal(again.score(users, items), expected.score(users, items))


def test_validation_chooses_the_epoch_and_refitting_with_it_repeats(learned_config, world):
    users, items = everything(world)
    metrics = iter([1.0, 9.0, 3.0, 2.0])
    config = learned_config.model_copy(update={"epochs": 4, "validate_every": 1, "patience": 4})
    backbone = fit(config, world, validate=lambda score: next(metrics))
    assert backbone.chosen_config == config.model_copy(update={"epochs": 2})
    refitted = fit(backbone.chosen_config, world)
    np.testing.assert_array_equal(refitted.score(users, items), backbone.score(users, items))


def test_a_second_fit_discards_the_first(config, world):
    users, items = everything(world)
    config = short(config)
    backbone = build(config)
    backbone.fit(world.train[:, ::-1].tocsr(), rng=np.random.default_rng(5))
    backbone.fold_in(world.new)
    backbone.fit(world.train, rng=np.random.default_rng(0))
    fresh = fit(config, world)
    np.testing.assert_array_equal(backbone.score(users, items), fresh.score(users, items))
    np.testing.assert_array_equal(backbone.fold_in(world.new), fresh.fold_in(world.new))


def test_error_messages(config, world):
    rng = np.random.default_rng(0)
    backbone = build(short(config))
    with pytest.raises(NotFittedError, match=config.kind):
        backbone.score(np.arange(2), np.arange(2))
    with pytest.raises(DataError, match="contains no interactions"):
        backbone.fit(sparse.csr_matrix((3, 4), dtype=np.float32), rng=rng)
    wrong = world.train.copy()
    wrong.data[7] = 2.0
    row = np.searchsorted(wrong.indptr, 7, "right") - 1
    with pytest.raises(DataError, match=rf"got 2.0 in row {row}, column {wrong.indices[7]}"):
        backbone.fit(wrong, rng=rng)
    backbone.fit(world.train, rng=rng)
    with pytest.raises(DataError, match="40 columns"):
        backbone.fold_in(sparse.csr_matrix((1, 7), dtype=np.float32))
    with pytest.raises(DataError, match="prior must have shape"):
        backbone.fold_in(world.new, prior=np.zeros((4, 3), np.float32))
    other = "ease" if config.kind != "ease" else "ials"
    with pytest.raises(ConfigError, match=f"backbone {other}: config must be"):
        build(TypeAdapter(BackboneConfig).validate_python({"kind": other})).__class__(config)


_FIT_ALL = """
import hashlib, numpy as np
from scipy import sparse
from warmstart.backbones import build
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.ials import IalsConfig
rng = np.random.default_rng(0)
train = sparse.random(300, 200, 0.05, format="csr", dtype=np.float32, rng=rng)
train.data[:] = 1
small = {"width": 32, "epochs": 3}
for config in (BprConfig(**small), IalsConfig(**small), IalsConfig(**small, solver="cg")):
    fitted = build(config).fit(train, rng=np.random.default_rng(1))
    arrays = [*fitted.state().values(), fitted.fold_in(train.T.tocsr()[:20])]
    print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


def test_the_process_that_compiles_fits_as_later_ones_do(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", _FIT_ALL],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    )
    assert len(first) == 3
    assert first == second
