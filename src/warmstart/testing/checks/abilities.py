"""Checks of adding items and of simulating interactions."""

from copy import copy
from typing import Any

import numpy as np
import polars as pl

from warmstart.abilities import AddsItems, FoldsIn, Simulates
from warmstart.data.interactions import OBSERVED, Interactions
from warmstart.errors import DataError
from warmstart.testing.case import Case, K, all_scores, rows
from warmstart.testing.checks.shared import for_ability, on_shared_fit, raises, warns
from warmstart.testing.new_process import queries_of, recommend_to

# -- abilities --


@on_shared_fit
@for_ability(AddsItems, "add items")
def abilities_add_keeps_old_scores(case: Case) -> None:
    """New items are appended, scored as declared and saved; old scores stay bit-identical.

    Old items are scored on their own: a matrix product may round the score of a pair differently
    among more items.
    """
    model: Any = case.loaded()
    n_items = case.scores.shape[1]
    new = case.world.new_items((0, 1, 1, 0))
    added = model.add_items(new)
    assert added["item"].to_list() == new.item_ids.values
    assert added["row"].to_list() == list(range(n_items, n_items + 4))
    scores = all_scores(model)
    np.testing.assert_allclose(scores[:, :n_items], case.scores, rtol=1e-4, atol=1e-5)
    scores = scores[:, n_items:]
    np.testing.assert_array_equal(all_scores(model, n_items), case.scores)
    scored = case.cls.traits.cold_items != "none"
    assert (np.isfinite(scores) if scored else np.isnan(scores)).all()
    again = case.load_alone(model.save(case.folder("grown")))
    np.testing.assert_array_equal(all_scores(again), all_scores(model))


@on_shared_fit
@for_ability(AddsItems, "add items")
def abilities_add_reaches_matching_users(case: Case) -> None:
    """Of a new even and a new odd item, a user gets the one of the same parity first."""
    model: Any = case.loaded()
    model.add_items(case.world.new_items((0, 1)))
    new = model.add_items(case.world.new_items((0, 1), first=950))["item"].to_list()
    users = case.world.active_users
    names = case.world.data.user_ids.take(users)
    if case.cls.traits.cold_items == "none":
        with warns("get no list"):
            assert recommend_to(model, names, 1, items=new).is_empty()
        return
    best = recommend_to(model, names, 1, items=new)
    if case.ranks_cold_items:
        expected = [new[parity] for parity in case.world.user_parity[users]]
        hits = np.mean([a == b for a, b in zip(best["item"], expected, strict=True)])
        assert hits > 0.8, f"only {hits:.0%} of the users get the new item of their parity first"


@on_shared_fit
@for_ability(AddsItems, "add items")
def abilities_add_to_a_copy(case: Case) -> None:
    """Items that are added to a shallow copy are not in the original, and the other way round."""
    model: Any = case.loaded()
    other = copy(model)
    np.testing.assert_array_equal(all_scores(other), case.scores)
    other.add_items(case.world.new_items((0, 1)))
    np.testing.assert_array_equal(all_scores(model), case.scores)
    users = case.world.data.user_ids.take(case.world.active_users[:2])
    assert set(recommend_to(model, users, K)["user"]) == set(users)
    expected = all_scores(other)
    model.add_items(case.world.new_items((1, 0, 1)))
    np.testing.assert_array_equal(all_scores(other), expected)
    other.add_items(case.world.new_items((1,), first=970))
    assert len(other.fitted.catalogue) == len(model.fitted.catalogue) == case.scores.shape[1] + 3


@on_shared_fit
@for_ability(AddsItems, "add items")
def abilities_add_none_or_duplicates(case: Case) -> None:
    """Adding no items changes nothing; a known item is refused, and nothing is added."""
    model: Any = case.loaded()
    assert model.add_items(case.world.new_items(())).is_empty()
    model.add_items(case.world.new_items((0,)))
    expected = all_scores(model)
    with raises(DataError, repr(case.world.new_items((0,)).item_ids.values[0])):
        model.add_items(case.world.new_items((0, 1)))
    np.testing.assert_array_equal(all_scores(model), expected)


@on_shared_fit
@for_ability(AddsItems, "add items")
def abilities_add_without_text(case: Case) -> None:
    """A new item without text is added; a method of texts warns, and cannot score it."""
    model: Any = case.loaded()
    new = case.world.new_items((0,), text="")
    traits = case.cls.traits
    if "texts" in traits.reads:
        with warns("1 of 1 item has no text"):
            added = model.add_items(new)
    else:
        added = model.add_items(new)
    assert added["has_text"].to_list() == [False]
    scores = model.score(queries_of(model, rows(case.world.data.n_users)), added["row"].to_numpy())
    assert np.isnan(scores).all() == ("texts" in traits.reads or traits.cold_items == "none")


@on_shared_fit
@for_ability(FoldsIn, "fold in items")
def abilities_fold_in_scores_cold_items(case: Case) -> None:
    """Cold items are scored by interactions, and saved; others and copies keep their scores."""
    model: Any = case.loaded()
    items = np.flatnonzero(~case.world.data.warm).astype(np.int32)[:2]
    users, parity = case.world.active_users, case.world.user_parity[case.world.active_users]
    clicks = [users[parity == own][:6] for own in (0, 1)]
    rows_of = np.repeat(items, [len(own) for own in clicks])
    other = copy(model)
    model.fold_in(Interactions.from_arrays(np.concatenate(clicks), rows_of))
    np.testing.assert_array_equal(all_scores(other), case.scores)
    scores = all_scores(model)
    others = np.setdiff1d(np.arange(scores.shape[1]), items)
    np.testing.assert_array_equal(scores[:, others], case.scores[:, others])
    even, odd = scores[users][:, items].T
    agreement = np.mean((odd > even) == (parity == 1))
    assert agreement > 0.8, f"only {agreement:.0%} of the users prefer the item of their parity"
    again = case.load_alone(model.save(case.folder("folded")))
    np.testing.assert_array_equal(all_scores(again), scores)


@on_shared_fit
@for_ability(FoldsIn, "fold in items")
def abilities_fold_in_refuses_warm_items(case: Case) -> None:
    """Interactions with a warm item, or of no user, are refused, and nothing changes."""
    model: Any = case.loaded()
    cold, warm = (int(np.flatnonzero(case.world.data.warm == is_warm)[0]) for is_warm in (0, 1))
    with raises(DataError, f"item row {warm} is warm"):
        model.fold_in(Interactions.from_arrays([0, 0], [cold, warm]))
    with raises(DataError, f"user row {case.world.data.n_users} is unknown"):
        model.fold_in(Interactions.from_arrays([case.world.data.n_users], [cold]))
    np.testing.assert_array_equal(all_scores(model), case.scores)


@on_shared_fit
@for_ability(Simulates, "simulate")
def abilities_simulate_is_well_formed(case: Case) -> None:
    """Each item gets k distinct known users, best first, with weights and provenance."""
    model: Any = case.model
    users, ids = case.world.data.user_ids, case.world.data.catalogue.item_ids
    has_text = case.world.data.catalogue.has_text
    items = ids.take(np.flatnonzero(~case.world.data.warm & has_text)[::-1])
    found = model.simulate(items, 7)
    assert found["item"].to_list() == [item for item in items for _ in range(7)]
    assert found["rank"].to_list() == list(range(1, 8)) * len(items)
    assert found["weight"].dtype == pl.Float32
    assert found["weight"].is_between(0, 1, closed="right").all()
    assert set(found["provenance"]) == {case.cls.name}
    assert case.cls.name != OBSERVED
    for _, part in found.group_by("item"):
        assert len(users.known_rows(part["user"].unique().to_list())) == 7
        assert (np.diff(part["weight"].to_numpy()) <= 0).all()
    assert model.simulate(items, 7).equals(found)
    assert case.loaded().simulate(items, 7).equals(found)  # pyright: ignore


@on_shared_fit
@for_ability(Simulates, "simulate")
def abilities_simulate_finds_matching_users(case: Case) -> None:
    """Simulated users have the parity of the item, whether it is in the catalogue or not."""
    model: Any = case.model
    world = case.world
    known = np.intersect1d(world.split.cold_candidates["test"], np.flatnonzero(~world.data.warm))
    new = world.new_items((0, 1, 0, 1))
    for items, parities in (
        (world.data.catalogue.item_ids.take(known), world.item_parity[known]),
        (new, np.array([0, 1, 0, 1])),
    ):
        users = world.data.user_ids.known_rows(model.simulate(items, 8)["user"].to_list())
        hits = (world.user_parity[users] == np.repeat(parities, 8)).mean()
        assert hits > 0.8, f"only {hits:.0%} of the simulated users have the parity of the item"


@on_shared_fit
@for_ability(Simulates, "simulate")
def abilities_simulate_refuses_bad_requests(case: Case) -> None:
    """A wrong k and an unknown item are errors; no items, a large k and no text are not."""
    model: Any = case.model
    known, n_users = case.world.data.catalogue.item_ids.values, case.world.data.n_users
    some = case.world.data.catalogue.item_ids.take(np.flatnonzero(~case.world.data.warm)[:1])
    for k in (0, -1, 2.0):
        with raises(DataError, "k ", repr(k)):
            model.simulate(some, k)
    assert len(model.simulate(some, n_users + 1)) == n_users
    with raises(DataError, "'nothing'"):
        model.simulate(["nothing"], 2)
    empty = model.simulate([], 2)
    assert empty.is_empty()
    assert empty.schema == model.simulate(some, 2).schema
    textless = known[case.world.textless[1]]
    with warns("1 of 2 items has no text"):
        found = model.simulate([textless, *some], 3)
    assert found["item"].to_list() == [*some, *some, *some]
