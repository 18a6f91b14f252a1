"""The table of all checks, the decorators that fill it, and the assertions that checks share."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Literal, TypeAlias

import numpy as np

from warmstart.abilities import require
from warmstart.core import Recommender
from warmstart.data.splits.cold import SliceName
from warmstart.errors import DataWarning, UnsupportedError, WarmstartError
from warmstart.testing.case import Case, scorer

CheckFunction: TypeAlias = Callable[[Case], None]

_MIN_LEARNED = 0.6  # relative ndcg that a method must reach
_MAX_CHANCE = 0.4  # upper bound if there is nothing to learn; even items for all users give 0.3


@dataclass(frozen=True)
class Check:
    """One check of the contract.

    Attributes:
        run: raises AssertionError if the case fails the check.
        refits: whether it fits the method again; all other checks share one fit.
    """

    run: CheckFunction
    refits: bool


CHECKS: dict[str, Check] = {}
"""All checks by name; the modules of this package register them."""


def on_shared_fit(function: CheckFunction) -> CheckFunction:
    """Register a check that uses the shared fit of a case."""
    CHECKS[function.__name__] = Check(function, refits=False)
    return function


def refits(function: CheckFunction) -> CheckFunction:
    """Register a check that fits the method again."""
    CHECKS[function.__name__] = Check(function, refits=True)
    return function


def only_if(applies: Callable[[Case], bool]) -> Callable[[CheckFunction], CheckFunction]:
    """Run the check on the cases to which it applies."""

    def wrap(function: CheckFunction) -> CheckFunction:
        @wraps(function)
        def check(case: Case) -> None:
            if applies(case):
                function(case)

        return check

    return wrap


def for_ability(ability: type, verb: str) -> Callable[[CheckFunction], CheckFunction]:
    """Run the check on methods with the ability; assert that ``require`` refuses all others."""

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


@contextmanager
def raises(error: type[WarmstartError], *parts: str) -> Iterator[None]:
    """Assert that the block raises this error, with a message that contains all ``parts``."""
    try:
        yield
    except error as raised:
        missing = [part for part in parts if part not in str(raised)]
        assert not missing, f"the message {str(raised)!r} does not contain {missing}"
    else:
        raise AssertionError(f"no {error.__name__} is raised")


@contextmanager
def warns(*parts: str) -> Iterator[None]:
    """Assert that the block gives a DataWarning whose message contains all ``parts``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        yield
    messages = [str(w.message) for w in caught if issubclass(w.category, DataWarning)]
    found = [text for text in messages if all(part in text for part in parts)]
    assert found, f"no warning contains {parts}; the warnings are {messages}"


def assert_same_scores(found: np.ndarray, expected: np.ndarray, case: Case) -> None:
    """Assert bit-identical scores if the method declares ``exact_repeat``, else close ones."""
    if case.cls.traits.exact_repeat:
        np.testing.assert_array_equal(found, expected)
    else:
        assert_close(found, expected)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Assert that scores are equal up to the rounding of sums in another order."""
    scale = float(np.nanmax(np.abs(expected), initial=0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


def assert_learned(model: Recommender, case: Case) -> None:
    """Assert rankings close to the ideal on each slice whose preferences the method declares."""
    parts: list[Literal["warm", "cold"]] = []
    if case.knows_taste:
        parts.append("warm")
    if case.ranks_cold_items:
        parts.append("cold")
    for part in parts:
        quality = case.relative_ndcg(scorer(model), part)
        assert quality > _MIN_LEARNED, f"{part} items: relative ndcg {quality:.2f}, too low"


def assert_at_chance(model: Recommender, part: SliceName, case: Case) -> None:
    """Assert that a model ranks a test slice about as well as at random."""
    quality = case.relative_ndcg(scorer(model), part)
    assert quality < _MAX_CHANCE, f"{part} items: relative ndcg {quality:.2f}, above chance"
