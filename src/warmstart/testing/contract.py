"""The contract: what every recommender must do, as named checks in a world with a known answer.

For a method of one's own, in a test::

    def test_my_method(tmp_path):
        run_contract(MyMethod, {"width": 8, "epochs": 20}, folder=tmp_path)

Give settings that learn the toy world (48 users, 65 items) in a moment. The class must be importable
in another process. Every check is a function of a ``Case``; the first word of its name is the group.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeAlias
from unittest.mock import patch

import numpy as np
import polars as pl

from warmstart.config import Config
from warmstart.core import AddsItems, Recommender, Simulates, require
from warmstart.data.interactions import OBSERVED, Interactions
from warmstart.errors import (
    ArtefactError,
    ConfigError,
    DataError,
    NotFittedError,
    UnsupportedError,
    WarmstartError,
)
from warmstart.methods import METHODS, load_model, method
from warmstart.run import Run
from warmstart.testing.case import Case, K, Lab, all_scores, killed_after_an_epoch, rows
from warmstart.testing.damage import MARKER, damages

CheckFunction: TypeAlias = Callable[[Case], None]

_LEARNED = 0.6  # share of the way from chance to the right answer that a method must go
_CHANCE = 0.4  # and at most so much where there is nothing to learn


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        run: raises AssertionError where the case fails.
        dear: whether it fits again; the others share one fit.
    """

    run: CheckFunction
    dear: bool


CHECKS: dict[str, Check] = {}
"""All checks by name, in the order of the groups."""


def run_contract(
    cls: type[Recommender], settings: Mapping[str, Any] | None = None, *, folder: Path
) -> None:
    """Run all checks on one method.

    Args:
        cls: an importable recommender.
        settings: for its configuration.
        folder: an empty folder for models and checkpoints.

    Raises:
        ExceptionGroup: the checks that fail, each noted with its name.
    """
    failures: list[Exception] = []
    with patch.dict(METHODS, {cls.name: f"{cls.__module__}:{cls.__qualname__}"}):
        case = Lab(folder).case(cls, settings)
        for name, check in CHECKS.items():
            try:
                check.run(case)
            except Exception as error:  # noqa: BLE001 - whatever a method raises is its failure
                error.add_note(f"in the check {name}")
                failures.append(error)
    if failures:
        raise ExceptionGroup(f"{cls.name} fails {len(failures)} of {len(CHECKS)} checks", failures)


def _cheap(function: CheckFunction) -> CheckFunction:
    CHECKS[function.__name__] = Check(function, dear=False)
    return function


def _dear(function: CheckFunction) -> CheckFunction:
    CHECKS[function.__name__] = Check(function, dear=True)
    return function


# -- construct --


@_cheap
def construct_with_defaults(case: Case) -> None:
    """Defaults work, a configuration is kept as it is, and nothing is fitted yet."""
    assert case.cls().config == case.cls.config_type()
    config = case.cls.config_type.build(case.settings)
    assert case.cls(config).config is config
    assert case.cls(**case.settings).config == config


@_cheap
def construct_config_round_trip(case: Case) -> None:
    """Configuration -> plain JSON values -> configuration is the same, also of ``PAPER``."""
    configs = [case.new().config, case.cls.config_type()]
    module = __import__(case.cls.__module__, fromlist=["PAPER"])
    configs += [value for name, value in vars(module).items() if name.startswith("PAPER")]
    for config in configs:
        assert isinstance(config, case.cls.config_type)
        assert case.cls.config_type.build(config.model_dump(mode="json")) == config
        assert case.cls.config_type.model_validate_json(config.model_dump_json()) == config


@_cheap
def construct_refuses_unknown_settings(case: Case) -> None:
    """A misspelt setting, or a configuration of another method, is named."""

    class Foreign(Config):
        """No method's configuration."""

    with _raises(ConfigError, "no_such_setting"):
        case.cls(no_such_setting=1)
    with _raises(ConfigError, case.cls.name, "Foreign", case.cls.config_type.__name__):
        case.cls(Foreign())


@_cheap
def construct_is_registered(case: Case) -> None:
    """The method is found by its name."""
    assert method(case.cls.name) is case.cls


# -- fit --


@_cheap
def fit_returns_itself(case: Case) -> None:
    """``fit`` can be chained."""
    assert case.shared.returned is case.model


@_cheap
def fit_leaves_the_rest_alone(case: Case) -> None:
    """Data, validation slices, base language model and all global states are as before."""
    before, after = case.shared.before, case.shared.after
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"fit changed: {changed}"


@_dear
def fit_repeats(case: Case) -> None:
    """The same seed gives the same scores, be it a number or a generator."""
    _same(all_scores(case.fit(rng=np.random.default_rng(7))), case.scores, case)


@_dear
def fit_forgets(case: Case) -> None:
    """A second fit is as a first one, whatever the model knew before."""
    used = case.fit(case.lab.other_world.data)
    _same(all_scores(case.fit(model=used)), case.scores, case)


@_dear
def fit_resumes(case: Case) -> None:
    """A fit that is killed in every stage and started again ends where the unbroken one ends."""
    folder, attempts = case.folder("run"), 0
    with killed_after_an_epoch():
        while True:
            attempts += 1
            assert attempts < 10, "a fit is not picked up: it starts again and again"
            try:
                resumed = case.fit(run=Run(folder))
            except BaseException as error:  # noqa: BLE001 - Killed is no Exception, on purpose
                if type(error).__name__ != "Killed":
                    raise
            else:
                break
    _same(all_scores(resumed), case.scores, case)


@_dear
def fit_with_its_choices(case: Case) -> None:
    """The configuration with the choices of one fit can be fitted without validation."""
    chosen = case.model.chosen
    assert case.cls.config_type.build(chosen.model_dump(mode="json")) == chosen
    again = case.fit(case.world.data, model=case.cls(chosen))
    assert again.chosen == chosen
    _ranks_right(again, case)


@_cheap
def fit_refuses_nothing_to_learn_from(case: Case) -> None:
    """No interactions: an error that names method and data; the model stays unfitted."""
    empty = case.world.data.with_interactions(Interactions.of([], []))
    model = case.new()
    with _raises(DataError, case.cls.name, empty.name):
        case.fit(empty, model=model)
    with _raises(NotFittedError):
        _ = model.fitted


@_cheap
def fit_refuses_a_missing_language_model(case: Case) -> None:
    """A method that needs a language model says so."""
    if case.cls.traits.needs_lm:
        with _raises(ConfigError, case.cls.name, "lm"):
            case.new().fit(case.world.data)


# -- score --


@_cheap
def score_has_the_shape(case: Case) -> None:
    """float32, users x items, a plain array; also of no users or no items."""
    n_users, n_items = case.world.data.matrix.shape
    for users, items in ((n_users, n_items), (1, 1), (0, n_items), (n_users, 0)):
        scores = case.model.score(rows(users), rows(items))
        assert type(scores) is np.ndarray
        assert scores.shape == (users, items), f"expected {(users, items)}, got {scores.shape}"
        assert scores.dtype == np.float32


@_cheap
def score_is_finite_or_nan_as_declared(case: Case) -> None:
    """NaN for all cold items where none can be scored, else finite; textless items survive."""
    unknown = np.zeros(case.scores.shape, bool)
    if case.cls.traits.cold_items == "none":
        unknown[:, ~case.world.data.warm] = True
    np.testing.assert_array_equal(np.isnan(case.scores), unknown)
    assert np.isfinite(case.scores[~unknown]).all()


@_cheap
def score_repeats(case: Case) -> None:
    """Asked twice, the answer is the same, though the caller wrote into the first one."""
    first = all_scores(case.model)
    expected = first.copy()
    first.flags.writeable = True
    first[:] = 7
    np.testing.assert_array_equal(all_scores(case.model), expected)


@_cheap
def score_permutes(case: Case) -> None:
    """The order of users and items does not matter, and a part is a part of the whole."""
    rng = np.random.default_rng(0)
    n_users, n_items = case.scores.shape
    for share in (1, 0.4):
        users = rng.permutation(n_users)[: int(share * n_users)].astype(np.int32)
        items = rng.permutation(n_items)[: int(share * n_items)].astype(np.int32)
        _close(case.model.score(users, items), case.scores[np.ix_(users, items)])


@_cheap
def score_one_by_one(case: Case) -> None:
    """A user or an item alone scores as in company."""
    n_users, n_items = case.scores.shape
    for user in range(0, n_users, 5):
        found = case.model.score(np.array([user], np.int32), rows(n_items))
        _close(found, case.scores[[user]])
    for item in range(0, n_items, 5):
        found = case.model.score(rows(n_users), np.array([item], np.int32))
        _close(found, case.scores[:, [item]])


# -- order --


@_cheap
def order_is_right(case: Case) -> None:
    """Even users prefer even items: warm ones, and cold ones where that is claimed."""
    _ranks_right(case.model, case)


@_cheap
def order_of_what_is_not_claimed(case: Case) -> None:
    """What does not read interactions is at chance; what is not personal is the same for all."""
    traits = case.cls.traits
    if not traits.personal:
        expected = np.broadcast_to(case.scores[:1], case.scores.shape)
        np.testing.assert_array_equal(case.scores, expected)
    if "interactions" not in traits.reads:
        assert abs(case.share(case.model.score, "warm")) < _CHANCE
    if traits.cold_items == "prior":
        assert abs(case.share(case.model.score, "cold")) < _CHANCE


# -- recommend --


@_cheap
def recommend_gives_the_best(case: Case) -> None:
    """k items a user: distinct, unseen, sorted, ranked from 1, and better than all left out."""
    lists, data = case.answers.lists, case.world.data
    assert lists.columns == ["user", "item", "score", "rank", "is_cold"]
    assert lists["score"].dtype == pl.Float32
    users = data.user_ids.known_rows(lists["user"].to_list())
    items = data.catalogue.item_ids.known_rows(lists["item"].to_list())
    np.testing.assert_array_equal(lists["score"].to_numpy(), case.scores[users, items])
    np.testing.assert_array_equal(lists["is_cold"].to_numpy(), ~data.warm[items])
    seen = data.matrix.toarray() > 0
    for user in range(data.n_users):
        mine = users == user
        ranked, values = items[mine], case.scores[user, items[mine]]
        assert len(set(ranked.tolist())) == K
        assert not seen[user, ranked].any()
        assert (np.diff(values) <= 0).all()
        assert lists["rank"].to_numpy()[mine].tolist() == list(range(1, K + 1))
        left_out = np.setdiff1d(np.flatnonzero(~seen[user]), ranked)
        assert values[-1] >= np.nanmax(case.scores[user, left_out])


@_cheap
def recommend_everything(case: Case) -> None:
    """With k as large as the catalogue a list ends with what can be scored."""
    data, user = case.world.data, int(case.world.answered_users[0])
    name = data.user_ids.values[user]
    able = ~np.isnan(case.scores[user])
    unseen = able & (data.matrix[[user]].toarray()[0] == 0)
    for seen, expected in ((True, unseen), (False, able)):
        items = case.model.recommend([name], data.n_items, exclude_seen=seen)["item"].to_list()
        assert sorted(items) == sorted(data.catalogue.item_ids.take(np.flatnonzero(expected)))


@_cheap
def recommend_among_candidates(case: Case) -> None:
    """An allow-list is obeyed, twice the same item is one; ``only_cold`` keeps to cold items."""
    data, warm = case.world.data, case.world.data.warm
    users, ids = data.user_ids.values, data.catalogue.item_ids
    allowed = ids.take(np.flatnonzero(warm)[:7])
    found = case.model.recommend(users, 3, items=[*allowed, allowed[0]], exclude_seen=False)
    assert set(found["item"]) <= set(allowed)
    assert len(found) == 3 * len(users)
    cold = case.model.recommend(users, 3, only_cold=True)
    assert set(cold["item"]) <= set(ids.take(np.flatnonzero(~warm)))
    assert cold["is_cold"].all()
    assert len(cold) == (0 if case.cls.traits.cold_items == "none" else 3 * len(users))


@_cheap
def recommend_refuses_bad_requests(case: Case) -> None:
    """A wrong k, unknown ids and an unknown wish are errors that name value and limits."""
    model, data = case.model, case.world.data
    users, n_items = data.user_ids.values[:2], data.n_items
    for k in (0, -1, n_items + 1):
        with _raises(DataError, str(k), str(n_items)):
            model.recommend(users, k)
    with _raises(DataError, "2", "1"):
        model.recommend(users, 2, items=data.catalogue.item_ids.values[:1])
    with _raises(DataError, "'nobody'", "user"):
        model.recommend([*users, "nobody"], 1)
    with _raises(DataError, "'nothing'", "item"):
        model.recommend(users, 1, items=["nothing"])
    with _raises(ConfigError, "on_unknown", "'skip'"):
        model.recommend(users, 1, on_unknown="skip")  # pyright: ignore[reportArgumentType]


@_cheap
def recommend_without_unknown_users(case: Case) -> None:
    """Unknown users are left out, with or without a warning, as asked."""
    users = case.world.data.user_ids.values[:2]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warned = case.model.recommend([users[0], "nobody", users[1]], 2, on_unknown="warn")
    assert ["'nobody'" in str(warning.message) for warning in caught] == [True]
    quiet = case.model.recommend(["nobody", *users], 2, on_unknown="ignore")
    assert warned.equals(quiet)
    assert warned.equals(case.model.recommend(users, 2))
    none = case.model.recommend(["nobody"], 2, on_unknown="ignore")
    assert none.equals(warned.clear()), f"an empty answer has the columns {none.schema}"


@_dear
def recommend_keeps_the_type_of_ids(case: Case) -> None:
    """Ids are integers or strings as they came, also after saving."""
    world = case.lab.other_world
    found = case.loaded(other=True).recommend(world.data.user_ids.values, 2)
    assert (found["user"].dtype, found["item"].dtype) == (pl.Int64, pl.Int64)
    assert set(found["user"]) == set(world.data.user_ids.values)
    assert set(found["item"]) <= set(world.data.catalogue.item_ids.values)
    lists = case.answers.lists
    assert (lists["user"].dtype, lists["item"].dtype) == (pl.String, pl.String)


# -- state --


@_cheap
def state_survives_here(case: Case) -> None:
    """Loaded in this process, the scores are bit for bit the same, and saving it again too."""
    loaded = case.loaded()
    np.testing.assert_array_equal(all_scores(loaded), case.scores)
    assert loaded.chosen == case.model.chosen
    assert loaded.config == case.model.config
    again = load_model(loaded.save(case.folder("saved-again")), lm=case.lm)
    np.testing.assert_array_equal(all_scores(again), case.scores)


@_cheap
def state_survives_elsewhere(case: Case) -> None:
    """Loaded in a process of its own, without a language model, the lists are the same."""
    assert case.fresh.lists.equals(case.answers.lists)
    np.testing.assert_array_equal(case.fresh.scores, case.scores)


@_cheap
def state_loads_without_training(case: Case) -> None:
    """Loading and recommending need neither transformers nor peft."""
    assert case.fresh is not None
    heavy = {"transformers", "peft", "tokenizers"} & set(case.lab.fresh[1])
    assert not heavy, f"loading and recommending import {sorted(heavy)}"


@_cheap
def state_names_no_place(case: Case) -> None:
    """The artefact holds no path of this machine."""
    places = [case.lab.folder, Path.home(), Path.cwd(), Path(__file__).parents[1]]
    secrets = [str(place).encode() for place in places if len(str(place)) > 3]
    for file in case.saved.iterdir():
        content = file.read_bytes()
        if file.suffix == ".parquet":  # compressed: read through
            content += repr(pl.read_parquet(file).to_dicts()).encode()
        found = [secret for secret in secrets if secret in content]
        assert not found, f"{file.name} holds {found}"


@_cheap
def state_that_is_damaged_is_refused(case: Case) -> None:
    """Each damage to the artefact is a clear error, and no code in it is ever run."""
    for number, (name, damage) in enumerate(damages().items()):
        copy = case.copied(str(number))
        damage(copy)
        try:
            load_model(copy, lm=case.lm)
        except ArtefactError as error:
            assert str(copy) in str(error), f"{name}: the message names no folder: {error}"
        else:
            raise AssertionError(f"an artefact is loaded though {name}")
        assert not (copy.parent / MARKER).exists(), f"{name}: a pickle was run"
    with _raises(ArtefactError, "no-such-folder"):
        load_model(case.folder("no-such-folder"))


@_cheap
def state_is_written_over_itself_only(case: Case) -> None:
    """Saving replaces an artefact, and nothing else."""
    copy = case.copied("replaced")
    case.model.save(copy)
    np.testing.assert_array_equal(all_scores(load_model(copy, lm=case.lm)), case.scores)
    (copy / "diary.txt").write_text("precious")
    with _raises(ArtefactError, str(copy)):
        case.model.save(copy)
    assert (copy / "diary.txt").read_text() == "precious"


@_cheap
def state_knows_its_language_model(case: Case) -> None:
    """New texts need the very language model of the fit: none, or another one, is refused."""
    if not case.cls.traits.needs_lm or not issubclass(case.cls, AddsItems):
        return
    bare = load_model(case.saved)
    with _raises(ArtefactError, "tiny-lm"):
        require(bare, AddsItems, "add items").add_items(case.world.new_items())
    np.testing.assert_array_equal(all_scores(bare), case.scores)
    with _raises(ArtefactError, "weights"):
        load_model(case.saved, lm=case.lab.other_lm)


# -- abilities --


def _able(ability: type, verb: str) -> Callable[[CheckFunction], CheckFunction]:
    """Without the ability, the check is that it is refused by name."""

    def wrap(function: CheckFunction) -> CheckFunction:
        @wraps(function)
        def check(case: Case) -> None:
            if issubclass(case.cls, ability):
                function(case)
                return
            with _raises(UnsupportedError, case.cls.name, verb):
                require(case.model, ability, verb)

        return check

    return wrap


@_cheap
@_able(AddsItems, "add items")
def abilities_add_leaves_old_scores(case: Case) -> None:
    """New items stand behind the others, whose scores stay bit for bit; NaN as declared."""
    model: Any = case.loaded()
    n_users, n_items = case.scores.shape
    new = case.world.new_items((0, 1, 1, 0))
    added = model.add_items(new)
    assert added["item"].to_list() == new.item_ids.values
    assert added["row"].to_list() == list(range(n_items, n_items + 4))
    np.testing.assert_array_equal(model.score(rows(n_users), rows(n_items)), case.scores)
    scores = model.score(rows(n_users), rows(n_items + 4)[n_items:])
    assert np.isnan(scores).all() if case.cls.traits.cold_items == "none" else (
        np.isfinite(scores).all()
    )
    again = load_model(model.save(case.folder("grown")))
    np.testing.assert_array_equal(all_scores(again), all_scores(model))


@_cheap
@_able(AddsItems, "add items")
def abilities_add_reaches_the_right_users(case: Case) -> None:
    """A new even item goes to even users, where cold items are understood."""
    model: Any = case.loaded()
    model.add_items(case.world.new_items((0, 1)))
    first = model.add_items(case.world.new_items((0, 1), first=950))["item"].to_list()
    users = case.world.answered_users
    names = case.world.data.user_ids.take(users)
    best = model.recommend(names, 1, items=first)
    if case.cls.traits.cold_items == "none":
        assert best.is_empty()
    elif case.understands_cold:
        right = [first[parity] for parity in case.world.user_parity[users]]
        hits = np.mean([a == b for a, b in zip(best["item"], right, strict=True)])
        assert hits > 0.8, f"the right one of two new items for {hits:.0%} of the users"


@_cheap
@_able(AddsItems, "add items")
def abilities_add_nothing_or_twice(case: Case) -> None:
    """No new items change nothing; an item that is there is refused, and nothing is changed."""
    model: Any = case.loaded()
    assert model.add_items(case.world.new_items(())).is_empty()
    model.add_items(case.world.new_items((0,)))
    expected = all_scores(model)
    with _raises(DataError, repr(case.world.new_items((0,)).item_ids.values[0])):
        model.add_items(case.world.new_items((0, 1)))
    np.testing.assert_array_equal(all_scores(model), expected)


@_cheap
@_able(AddsItems, "add items")
def abilities_add_without_text(case: Case) -> None:
    """A new item without text is taken, and scored or not like any cold item."""
    model: Any = case.loaded()
    new = case.world.new_items((0,), text="")
    row = model.add_items(new)["row"].to_numpy()
    scores = model.score(rows(case.world.data.n_users), row)
    assert np.isnan(scores).all() == (case.cls.traits.cold_items == "none")


@_cheap
@_able(Simulates, "simulate")
def abilities_simulate_is_well_formed(case: Case) -> None:
    """k distinct known users for each asked item, likeliest first, with provenance and weight."""
    model: Any = case.model
    users, ids = case.world.data.user_ids, case.world.data.catalogue.item_ids
    asked = ids.take(np.flatnonzero(~case.world.data.warm)[::-1])
    found = model.simulate(asked, 7)
    assert found["item"].to_list() == [item for item in asked for _ in range(7)]
    assert found["rank"].to_list() == list(range(1, 8)) * len(asked)
    assert found["weight"].dtype == pl.Float32
    assert found["weight"].is_between(0, 1, closed="right").all()
    assert set(found["provenance"]) == {case.cls.name}
    assert case.cls.name != OBSERVED
    for _, part in found.group_by("item"):
        assert len(users.known_rows(part["user"].unique().to_list())) == 7
        assert (np.diff(part["weight"].to_numpy()) <= 0).all()
    assert model.simulate(asked, 7).equals(found)
    assert case.loaded().simulate(asked, 7).equals(found)  # pyright: ignore


@_cheap
@_able(Simulates, "simulate")
def abilities_simulate_finds_the_right_users(case: Case) -> None:
    """Even users for even items, be they in the catalogue or brought along."""
    model: Any = case.model
    world = case.world
    in_it = np.intersect1d(world.split.cold_candidates["test"], np.flatnonzero(~world.data.warm))
    brought = world.new_items((0, 1, 0, 1))
    for items, parities in (
        (world.data.catalogue.item_ids.take(in_it), world.item_parity[in_it]),
        (brought, np.array([0, 1, 0, 1])),
    ):
        users = world.data.user_ids.known_rows(model.simulate(items, 8)["user"].to_list())
        hits = (world.user_parity[users] == np.repeat(parities, 8)).mean()
        assert hits > 0.8, f"{hits:.0%} of the simulated users are right"


@_cheap
@_able(Simulates, "simulate")
def abilities_simulate_refuses_bad_requests(case: Case) -> None:
    """A wrong k and an unknown item are errors; no items, or one without text, are none."""
    model: Any = case.model
    known, n_users = case.world.data.catalogue.item_ids.values, case.world.data.n_users
    for k in (0, n_users + 1):
        with _raises(DataError, str(k), str(n_users)):
            model.simulate(known[:1], k)
    with _raises(DataError, "'nothing'"):
        model.simulate(["nothing"], 2)
    expected = model.simulate(known[:1], 2)
    assert model.simulate([], 2).equals(expected.clear())
    textless = known[case.world.textless[1]]
    assert len(model.simulate([textless], n_users)) == n_users


# -- honesty --


@_dear
def honesty_about_random_interactions(case: Case) -> None:
    """Trained on interactions at random, nothing can be known."""
    data = case.world.with_random_interactions(np.random.default_rng(0))
    model = case.fit(data)
    _at_chance(case.share(model.score, "warm"), "warm items")
    if case.understands_cold:
        _at_chance(case.share(model.score, "cold"), "cold items")


@_dear
def honesty_about_misleading_texts(case: Case) -> None:
    """Where half of the texts are swapped, nobody can know who likes a cold item."""
    if case.understands_cold:
        model = case.fit(case.world.with_misleading_texts())
        _at_chance(case.share(model.score, "cold"), "cold items")


@_dear
def honesty_about_the_test_part(case: Case) -> None:
    """Scores are the same where nothing of the test part has happened."""
    split = case.world.without_test()
    assert len(split.warm_test) + len(split.cold_test) == 0
    _same(all_scores(case.fit(split.train, split.validation())), case.scores, case)


@_cheap
def honesty_about_tuning(case: Case) -> None:
    """What is saved as adapter has moved; that the base has not is ``fit_leaves_the_rest_alone``."""
    for name, array in case.model._state().items():
        if "lora_B" in name:  # zero before the first step
            assert np.abs(array).max() > 0, f"{name} has not moved"


# -- messages --


@_cheap
def messages_before_fit(case: Case) -> None:
    """Whatever is asked too early: the answer names the method and what to do."""
    model: Any = case.new()
    asked: list[Callable[[], Any]] = [
        lambda: model.fitted,
        lambda: model.chosen,
        lambda: model.recommend(["somebody"]),
        lambda: model.score(rows(1), rows(1)),
        lambda: model.save(case.folder("never")),
    ]
    if isinstance(model, AddsItems):
        asked.append(lambda: model.add_items(case.world.new_items()))
    if isinstance(model, Simulates):
        asked.append(lambda: model.simulate(case.world.new_items(), 1))
    for ask in asked:
        with _raises(NotFittedError, case.cls.name, "fit"):
            ask()
    assert not case.folder("never").exists()


# -- what the checks share --


@contextmanager
def _raises(error: type[WarmstartError], *parts: str) -> Iterator[None]:
    """Inside, an error of that type is raised, and its message holds all of ``parts``."""
    try:
        yield
    except error as raised:
        missing = [part for part in parts if part not in str(raised)]
        assert not missing, f"the message {str(raised)!r} does not name {missing}"
    else:
        raise AssertionError(f"no {error.__name__} is raised")


def _same(found: np.ndarray, expected: np.ndarray, case: Case) -> None:
    if case.cls.traits.exact_repeat:
        np.testing.assert_array_equal(found, expected)
    else:
        _close(found, expected)


def _close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to the rounding of sums in another order."""
    scale = float(np.nanmax(np.abs(expected), initial=0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


def _ranks_right(model: Recommender, case: Case) -> None:
    traits = case.cls.traits
    parts: list[Literal["warm", "cold"]] = []
    if "interactions" in traits.reads and traits.personal:
        parts.append("warm")
    if case.understands_cold:
        parts.append("cold")
    for part in parts:
        share = case.share(model.score, part)
        assert share > _LEARNED, f"{part} items: {share:.0%} of the way to the right answer"


def _at_chance(share: float, what: str) -> None:
    assert share < _CHANCE, f"{what} are ranked {share:.0%} of the way to the right answer"
