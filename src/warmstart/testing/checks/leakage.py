"""Checks for leakage, and of the errors before ``fit``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from warmstart.abilities import AddsItems, Converses, Predicts, Simulates
from warmstart.data.queries import Queries
from warmstart.errors import NotFittedError
from warmstart.testing.case import Case, all_scores, rows
from warmstart.testing.checks.shared import (
    assert_at_chance,
    assert_same_scores,
    on_shared_fit,
    raises,
    refits,
)

# -- leakage --


@refits
def leakage_random_interactions(case: Case) -> None:
    """A method that is fitted on random interactions ranks at chance."""
    data = case.world.with_random_interactions(np.random.default_rng(0))
    model = case.fit(data)
    assert_at_chance(model, "warm", case)
    if case.ranks_cold_items:
        assert_at_chance(model, "cold", case)


@refits
def leakage_swapped_texts(case: Case) -> None:
    """If half of the texts are swapped, cold items are ranked at chance."""
    if case.ranks_cold_items:
        model = case.fit(case.world.with_swapped_texts())
        assert_at_chance(model, "cold", case)


@refits
def leakage_test_part(case: Case) -> None:
    """Removing the test interactions from the data set does not change the scores."""
    world = case.world.without_test_interactions()
    assert len(world.split.warm_test) + len(world.split.cold_test) == 0
    model = case.fit(world.data, world.split.validation())
    assert_same_scores(all_scores(model), case.scores, case)


# -- messages --


@on_shared_fit
def messages_before_fit(case: Case) -> None:
    """Every use of an unfitted model raises an error that names the method and ``fit``."""
    model: Any = case.new()
    calls: list[Callable[[], Any]] = [
        lambda: model.fitted,
        lambda: model.chosen,
        lambda: model.recommend(["somebody"]),
        lambda: model.score(Queries(rows(1), None, ("even",)), rows(1)),
        lambda: model.save(case.folder("never")),
    ]
    if isinstance(model, AddsItems):
        calls.append(lambda: model.add_items(case.world.new_items()))
    if isinstance(model, Simulates):
        calls.append(lambda: model.simulate(case.world.new_items(), 1))
    if isinstance(model, Converses):
        calls.append(lambda: model.mentioned_items(["even"]))
    if isinstance(model, Predicts):
        calls.append(lambda: model.predict_proba(Queries(rows(1), None, ("even",)), rows(1)))
    for call in calls:
        with raises(NotFittedError, case.cls.name, "fit"):
            call()
    assert not case.folder("never").exists()
