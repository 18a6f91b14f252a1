"""No knowledge from nowhere; clear messages before anything is known."""

from collections.abc import Callable
from typing import Any

import numpy as np

from warmstart.abilities import AddsItems, Simulates
from warmstart.errors import NotFittedError
from warmstart.testing.case import Case, all_scores, rows
from warmstart.testing.checks.shared import at_chance, cheap, dear, raises, same

# -- honesty --


@dear
def honesty_about_random_interactions(case: Case) -> None:
    """Trained on interactions at random, nothing can be known."""
    data = case.world.with_random_interactions(np.random.default_rng(0))
    model = case.fit(data)
    at_chance(case.share(model.score, "warm"), "warm items")
    if case.understands_cold:
        at_chance(case.share(model.score, "cold"), "cold items")


@dear
def honesty_about_misleading_texts(case: Case) -> None:
    """Where half of the texts are swapped, nobody can know who likes a cold item."""
    if case.understands_cold:
        model = case.fit(case.world.with_misleading_texts())
        at_chance(case.share(model.score, "cold"), "cold items")


@dear
def honesty_about_the_test_part(case: Case) -> None:
    """Scores are the same where nothing of the test part has happened."""
    split = case.world.without_test()
    assert len(split.warm_test) + len(split.cold_test) == 0
    same(all_scores(case.fit(split.train, split.validation())), case.scores, case)


@cheap
def honesty_about_tuning(case: Case) -> None:
    """A saved adapter has moved; that the base has not is ``fit_leaves_the_rest_alone``."""
    for name, array in case.model._state().items():
        if "lora_B" in name:  # zero before the first step
            assert np.abs(array).max() > 0, f"{name} has not moved"


# -- messages --


@cheap
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
        with raises(NotFittedError, case.cls.name, "fit"):
            ask()
    assert not case.folder("never").exists()
