"""Runs every check on every method; on further backbones, only the checks that share one fit."""

import numpy as np
import pytest

from warmstart.methods import METHODS
from warmstart.run import Run
from warmstart.testing.case import all_scores
from warmstart.testing.contract import CHECKS
from warmstart.testing.small_settings import BACKBONE_VARIANTS, METHOD_SETTINGS

# (case, check) -> why the check fails for now. A listed check that passes is an error.
KNOWN_GAPS: dict[tuple[str, str], str] = {}


def pairs():
    for name in (*METHOD_SETTINGS, *BACKBONE_VARIANTS):
        for check in CHECKS:
            if name in METHOD_SETTINGS or not CHECKS[check].refits:
                gap = KNOWN_GAPS.get((name, check))
                marks = [] if gap is None else [pytest.mark.xfail(reason=gap, strict=True)]
                yield pytest.param(name, check, marks=marks, id=f"{name}-{check}")


@pytest.mark.parametrize(("name", "check"), list(pairs()))
def test_contract(name, check, fixtures):
    CHECKS[check].run(fixtures.cases[name])


def test_methods_share_one_run_folder(fixtures, tmp_path):
    """Methods that share stages through a run folder give the same scores as alone."""
    for name in METHOD_SETTINGS:
        case = fixtures.cases[name]
        np.testing.assert_array_equal(all_scores(case.fit(run=Run(tmp_path))), case.scores)


def test_another_seed_changes_the_scores_of_random_methods(fixtures):
    for name in ("random", "cf_only", "filterllm", "filterllm/lora"):
        case = fixtures.cases[name]
        assert (all_scores(case.fit(rng=8)) != case.scores).any(), name


@pytest.mark.parametrize("name", ["cf_only", "ease_text"])
def test_a_refit_with_the_choices_is_the_validated_fit(name, fixtures):
    case = fixtures.cases[name]
    again = case.fit(case.world.data, model=case.cls(case.model.chosen))
    np.testing.assert_array_equal(all_scores(again), case.scores)


def test_only_lora_saves_an_adapter_and_training_moves_it(fixtures):
    state = fixtures.cases["filterllm/lora"].model._state()
    moved = [name for name, array in state.items() if "lora_B" in name and np.abs(array).max() > 0]
    assert moved
    assert not any("lora" in name for name in fixtures.cases["filterllm"].model._state())


def test_vectors_are_cached_in_the_folder_of_the_encoder(fixtures, default_cache):
    model = fixtures.cases["filterllm/lora"].loaded()
    model.add_items(fixtures.world.new_items())
    assert not default_cache.exists()
    assert any((fixtures.folder / "cache").rglob("*.sqlite"))


def test_every_method_has_small_settings():
    assert {name.partition("/")[0] for name in METHOD_SETTINGS} == set(METHODS)


def test_known_gaps_name_cases_and_checks():
    assert {name for name, _ in KNOWN_GAPS} <= {*METHOD_SETTINGS, *BACKBONE_VARIANTS}
    assert {check for _, check in KNOWN_GAPS} <= set(CHECKS)
