"""What a method claims beyond scoring: adding items, simulating."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import polars as pl

from warmstart.abilities import AddsItems, Simulates, require
from warmstart.data.interactions import OBSERVED
from warmstart.errors import DataError, UnsupportedError
from warmstart.methods import load_model
from warmstart.testing.case import Case, all_scores, rows
from warmstart.testing.checks.shared import CheckFunction, cheap, raises

# -- abilities --


def _able(ability: type, verb: str) -> Callable[[CheckFunction], CheckFunction]:
    """Without the ability, the check is that it is refused by name."""

    def wrap(function: CheckFunction) -> CheckFunction:
        @wraps(function)
        def check(case: Case) -> None:
            if issubclass(case.cls, ability):
                function(case)
                return
            with raises(UnsupportedError, case.cls.name, verb):
                require(case.model, ability, verb)

        return check

    return wrap


@cheap
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
    able = case.cls.traits.cold_items != "none"
    assert (np.isfinite(scores) if able else np.isnan(scores)).all()
    again = load_model(model.save(case.folder("grown")))
    np.testing.assert_array_equal(all_scores(again), all_scores(model))


@cheap
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


@cheap
@_able(AddsItems, "add items")
def abilities_add_nothing_or_twice(case: Case) -> None:
    """No new items change nothing; an item that is there is refused, and nothing is changed."""
    model: Any = case.loaded()
    assert model.add_items(case.world.new_items(())).is_empty()
    model.add_items(case.world.new_items((0,)))
    expected = all_scores(model)
    with raises(DataError, repr(case.world.new_items((0,)).item_ids.values[0])):
        model.add_items(case.world.new_items((0, 1)))
    np.testing.assert_array_equal(all_scores(model), expected)


@cheap
@_able(AddsItems, "add items")
def abilities_add_without_text(case: Case) -> None:
    """A new item without text is taken, and scored or not like any cold item."""
    model: Any = case.loaded()
    new = case.world.new_items((0,), text="")
    row = model.add_items(new)["row"].to_numpy()
    scores = model.score(rows(case.world.data.n_users), row)
    assert np.isnan(scores).all() == (case.cls.traits.cold_items == "none")


@cheap
@_able(Simulates, "simulate")
def abilities_simulate_is_well_formed(case: Case) -> None:
    """Each asked item gets k distinct known users, likeliest first, with provenance, weight."""
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


@cheap
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


@cheap
@_able(Simulates, "simulate")
def abilities_simulate_refuses_bad_requests(case: Case) -> None:
    """A wrong k and an unknown item are errors; no items, or one without text, are none."""
    model: Any = case.model
    known, n_users = case.world.data.catalogue.item_ids.values, case.world.data.n_users
    for k in (0, n_users + 1):
        with raises(DataError, str(k), str(n_users)):
            model.simulate(known[:1], k)
    with raises(DataError, "'nothing'"):
        model.simulate(["nothing"], 2)
    nothing = model.simulate([], 2)
    assert nothing.is_empty()
    assert nothing.schema == model.simulate(known[:1], 2).schema
    textless = known[case.world.textless[1]]
    assert len(model.simulate([textless], n_users)) == n_users
