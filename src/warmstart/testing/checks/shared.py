"""What the checks share: the table they stand in, and assertions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from warmstart.core import Recommender
from warmstart.errors import WarmstartError
from warmstart.testing.case import Case

CheckFunction: TypeAlias = Callable[[Case], None]

_LEARNED = 0.6  # share of the way from chance to the right answer that a method must go
_CHANCE = 0.4  # and at most so much where there is nothing to learn; 0.3 is "even items for all"


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
"""All checks by name; filled by the modules of this package."""


def cheap(function: CheckFunction) -> CheckFunction:
    """Enter a check that looks at the shared fit."""
    CHECKS[function.__name__] = Check(function, dear=False)
    return function


def dear(function: CheckFunction) -> CheckFunction:
    """Enter a check that fits again."""
    CHECKS[function.__name__] = Check(function, dear=True)
    return function


@contextmanager
def raises(error: type[WarmstartError], *parts: str) -> Iterator[None]:
    """Inside, an error of that type is raised, and its message holds all of ``parts``."""
    try:
        yield
    except error as raised:
        missing = [part for part in parts if part not in str(raised)]
        assert not missing, f"the message {str(raised)!r} does not name {missing}"
    else:
        raise AssertionError(f"no {error.__name__} is raised")


def same(found: np.ndarray, expected: np.ndarray, case: Case) -> None:
    """Equal bit for bit, where the method claims to repeat exactly."""
    if case.cls.traits.exact_repeat:
        np.testing.assert_array_equal(found, expected)
    else:
        close(found, expected)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to the rounding of sums in another order."""
    scale = float(np.nanmax(np.abs(expected), initial=0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


def ranks_right(model: Recommender, case: Case) -> None:
    """Most of the way to the right answer, for what the method claims to know."""
    traits = case.cls.traits
    parts: list[Literal["warm", "cold"]] = []
    if "interactions" in traits.reads and traits.personal:
        parts.append("warm")
    if case.understands_cold:
        parts.append("cold")
    for part in parts:
        share = case.share(model.score, part)
        assert share > _LEARNED, f"{part} items: {share:.0%} of the way to the right answer"


def at_chance(share: float, what: str) -> None:
    """Nothing is known."""
    assert share < _CHANCE, f"{what} are ranked {share:.0%} of the way to the right answer"
