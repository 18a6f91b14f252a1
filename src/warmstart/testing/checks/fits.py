"""Construction and ``fit``."""

import numpy as np

from warmstart.config import Config
from warmstart.data.interactions import Interactions
from warmstart.errors import ConfigError, DataError, NotFittedError
from warmstart.methods import method
from warmstart.run import Run
from warmstart.testing.case import Case, Killed, all_scores, killed_after_an_epoch
from warmstart.testing.checks.shared import cheap, dear, raises, ranks_right, same

# -- construct --


@cheap
def construct_with_defaults(case: Case) -> None:
    """Defaults work, a configuration is kept as it is, and nothing is fitted yet."""
    assert case.cls().config == case.cls.config_type()
    config = case.cls.config_type.build(case.settings)
    assert case.cls(config).config is config
    assert case.cls(**case.settings).config == config


@cheap
def construct_config_round_trip(case: Case) -> None:
    """Configuration -> plain JSON values -> configuration is the same, also of ``PAPER``."""
    configs = [case.new().config, case.cls.config_type()]
    module = __import__(case.cls.__module__, fromlist=["PAPER"])
    configs += [value for name, value in vars(module).items() if name.startswith("PAPER")]
    for config in configs:
        assert isinstance(config, case.cls.config_type)
        assert case.cls.config_type.build(config.model_dump(mode="json")) == config
        assert case.cls.config_type.model_validate_json(config.model_dump_json()) == config


@cheap
def construct_refuses_unknown_settings(case: Case) -> None:
    """A misspelt setting, or a configuration of another method, is named."""

    class Foreign(Config):
        """No method's configuration."""

    with raises(ConfigError, "no_such_setting"):
        case.cls(no_such_setting=1)
    with raises(ConfigError, case.cls.name, "Foreign", case.cls.config_type.__name__):
        case.cls(Foreign())


@cheap
def construct_is_registered(case: Case) -> None:
    """The method is found by its name."""
    assert method(case.cls.name) is case.cls


# -- fit --


@cheap
def fit_returns_itself(case: Case) -> None:
    """``fit`` can be chained."""
    assert case.shared.returned is case.model


@cheap
def fit_leaves_the_rest_alone(case: Case) -> None:
    """Data, validation slices, base language model and all global states are as before."""
    before, after = case.shared.before, case.shared.after
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"fit changed: {changed}"


@dear
def fit_repeats(case: Case) -> None:
    """The same seed gives the same scores, be it a number or a generator."""
    same(all_scores(case.fit(rng=np.random.default_rng(7))), case.scores, case)


@dear
def fit_forgets(case: Case) -> None:
    """A second fit is as a first one, whatever the model knew before."""
    used = case.fit(case.lab.other_world.data)
    same(all_scores(case.fit(model=used)), case.scores, case)


@dear
def fit_resumes(case: Case) -> None:
    """A fit that is killed in every stage and started again ends where the unbroken one ends."""
    folder, attempts = case.folder("run"), 0
    with killed_after_an_epoch():
        while True:
            attempts += 1
            assert attempts < 10, "a fit is not picked up: it starts again and again"
            try:
                resumed = case.fit(run=Run(folder))
                break
            except Killed:
                continue
    same(all_scores(resumed), case.scores, case)


@dear
def fit_shares_a_run_folder(case: Case) -> None:
    """What other fits left in the folder of the run, with another seed, data, LM, is not taken."""
    run, data = Run(case.folder("shared-run")), case.world.data
    case.fit(case.world.with_random_interactions(np.random.default_rng(1)), run=run)
    case.fit(rng=8, run=run)
    case.fit(data, run=run)
    if case.lm is not None:
        valid = case.world.split.validation()
        case.new().fit(data, valid=valid, lm=case.lab.other_lm, rng=7, run=run)
    same(all_scores(case.fit(run=run)), case.scores, case)


@dear
def fit_with_its_choices(case: Case) -> None:
    """The configuration with the choices of one fit can be fitted without validation."""
    chosen = case.model.chosen
    assert case.cls.config_type.build(chosen.model_dump(mode="json")) == chosen
    again = case.fit(case.world.data, model=case.cls(chosen))
    assert again.chosen == chosen
    ranks_right(again, case)


@cheap
def fit_refuses_nothing_to_learn_from(case: Case) -> None:
    """No interactions: an error that names method and data; the model stays unfitted."""
    empty = case.world.data.with_interactions(Interactions.of([], []))
    model = case.new()
    with raises(DataError, case.cls.name, empty.name):
        case.fit(empty, model=model)
    with raises(NotFittedError):
        _ = model.fitted


@cheap
def fit_refuses_a_missing_language_model(case: Case) -> None:
    """A method that needs a language model says so."""
    if case.cls.traits.needs_lm:
        with raises(ConfigError, case.cls.name, "lm"):
            case.new().fit(case.world.data)
