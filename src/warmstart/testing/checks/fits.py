"""Checks of construction and of ``fit``."""

import numpy as np

from warmstart.config import Config
from warmstart.data.interactions import Interactions
from warmstart.errors import ConfigError, DataError, NotFittedError
from warmstart.methods import method
from warmstart.run import Run
from warmstart.testing.case import Case, Killed, all_scores, killed_after_an_epoch
from warmstart.testing.checks.shared import (
    assert_learned,
    assert_same_scores,
    on_shared_fit,
    raises,
    refits,
)

# -- construct --


@on_shared_fit
def construct_with_defaults(case: Case) -> None:
    """The constructor works without arguments, with a configuration, and with single settings."""
    assert case.cls().config == case.cls.config_type()
    config = case.cls.config_type.build(case.settings)
    assert case.cls(config).config is config
    assert case.cls(**case.settings).config == config


@on_shared_fit
def construct_config_round_trip(case: Case) -> None:
    """A configuration survives the conversion to JSON and back; so does each ``PAPER...``."""
    configs = [case.new().config, case.cls.config_type()]
    module = __import__(case.cls.__module__, fromlist=["PAPER"])
    configs += [value for name, value in vars(module).items() if name.startswith("PAPER")]
    for config in configs:
        assert isinstance(config, case.cls.config_type)
        assert case.cls.config_type.build(config.model_dump(mode="json")) == config
        assert case.cls.config_type.model_validate_json(config.model_dump_json()) == config


@on_shared_fit
def construct_refuses_unknown_settings(case: Case) -> None:
    """The error names a misspelt setting, or the types if the configuration is of another type."""

    class Foreign(Config):
        """A configuration of no method."""

    with raises(ConfigError, "no_such_setting"):
        case.cls(no_such_setting=1)
    with raises(ConfigError, case.cls.name, "Foreign", case.cls.config_type.__name__):
        case.cls(Foreign())


@on_shared_fit
def construct_is_registered(case: Case) -> None:
    """``methods.method`` finds the class by its name."""
    assert method(case.cls.name) is case.cls


# -- fit --


@on_shared_fit
def fit_returns_self(case: Case) -> None:
    """``fit`` returns the model, so that calls can be chained."""
    assert case.shared.returned is case.model


@on_shared_fit
def fit_changes_nothing_else(case: Case) -> None:
    """``fit`` leaves data, validation slices, base LM and global state unchanged."""
    before, after = case.shared.before, case.shared.after
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"fit changed: {changed}"


@refits
def fit_is_reproducible(case: Case) -> None:
    """The same seed gives the same scores, whether passed as a number or as a generator."""
    assert_same_scores(all_scores(case.fit(rng=np.random.default_rng(7))), case.scores, case)


@refits
def fit_forgets_the_previous_fit(case: Case) -> None:
    """Fitting a model that was fitted on other data gives the same scores as a first fit."""
    used = case.fit(case.fixtures.other_world.data)
    assert_same_scores(all_scores(case.fit(model=used)), case.scores, case)


@refits
def fit_resumes(case: Case) -> None:
    """A fit that is killed in each training, then restarted, scores like an unbroken fit."""
    folder, attempts = case.folder("run"), 0
    with killed_after_an_epoch():
        while True:
            attempts += 1
            assert attempts < 10, "a killed fit never finishes: it does not resume"
            try:
                resumed = case.fit(run=Run(folder))
                break
            except Killed:
                continue
    assert_same_scores(all_scores(resumed), case.scores, case)


@refits
def fit_shares_a_run_folder(case: Case) -> None:
    """A fit ignores stages in the run folder that had another seed, other data or another LM."""
    run, data = Run(case.folder("shared-run")), case.world.data
    case.fit(case.world.with_random_interactions(np.random.default_rng(1)), run=run)
    case.fit(rng=8, run=run)
    case.fit(data, run=run)
    if case.models.encoder is not None:
        valid = case.world.split.validation()
        other = case.fixtures.other_encoder
        causal = case.models.causal
        case.new().fit(data, valid=valid, encoder=other, lm=causal, rng=7, run=run)
    assert_same_scores(all_scores(case.fit(run=run)), case.scores, case)


@refits
def fit_with_chosen_settings(case: Case) -> None:
    """The configuration ``chosen`` can be refitted without validation, and learns as well."""
    chosen = case.model.chosen
    assert case.cls.config_type.build(chosen.model_dump(mode="json")) == chosen
    again = case.fit(case.world.data, model=case.cls(chosen))
    assert again.chosen == chosen
    assert_learned(again, case)


@on_shared_fit
def fit_moves_the_adapter(case: Case) -> None:
    """A LoRA adapter in the saved state differs from its initial value."""
    for name, array in case.model._state().items():
        if "lora_B" in name:  # zero before the first step
            assert np.abs(array).max() > 0, f"{name} has not moved"


@on_shared_fit
def fit_refuses_empty_data(case: Case) -> None:
    """Without interactions ``fit`` raises, naming method and data; the model stays unfitted."""
    empty = case.world.data.with_interactions(Interactions.from_arrays([], []))
    model = case.new()
    with raises(DataError, case.cls.name, empty.name):
        case.fit(empty, model=model)
    with raises(NotFittedError):
        _ = model.fitted


@on_shared_fit
def fit_refuses_a_missing_language_model(case: Case) -> None:
    """A method that needs a language model raises without one."""
    if case.new().needs:
        with raises(ConfigError, case.cls.name, "=None"):
            case.new().fit(case.world.data)
