"""Check the arguments of public functions; every error has the same form."""

import sys
from typing import Any

import numpy as np

from warmstart.errors import ConfigError, WarmstartError


def whole_number(
    who: str,
    name: str,
    value: Any,
    *,
    low: int,
    high: int | None = None,
    error: type[WarmstartError] = ConfigError,
) -> int:
    """Return ``value`` as int.

    Args:
        who: the function that got the argument; the message begins with it.
        name: name of the argument.
        value: its value.
        low: the smallest value allowed.
        high: the largest value allowed; None allows any.
        error: type of the exception.

    Raises:
        WarmstartError: of type ``error``: ``value`` is no integer, a bool, or out of range.
    """
    if not _is_whole(value) or value < low or (high is not None and value > high):
        to = "" if high is None else f" to {high}"
        raise error(f"{who}: {name} must be a whole number from {low}{to}, got {value!r}")
    return int(value)


def positive_number(who: str, name: str, value: Any) -> float:
    """Return ``value`` as float.

    Raises:
        ConfigError: ``value`` is no number, a bool, not above 0, or not finite.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    number = isinstance(plain, int | float) and not isinstance(plain, bool)
    if not number or not 0 < plain <= sys.float_info.max:
        raise ConfigError(f"{who}: {name} must be a finite number above 0, got {value!r}")
    return float(plain)


def fraction(who: str, name: str, value: Any) -> float:
    """Return ``value`` as float.

    Raises:
        ConfigError: ``value`` is no number, a bool, or outside [0, 1].
    """
    plain = value.item() if isinstance(value, np.generic) else value
    number = isinstance(plain, int | float) and not isinstance(plain, bool)
    if not number or not 0 <= plain <= 1:
        raise ConfigError(f"{who}: {name} must be a number from 0 to 1, got {value!r}")
    return float(plain)


def generator(who: str, name: str, value: Any) -> np.random.Generator:
    """Return ``value`` if it is a generator, or a generator seeded by it.

    Raises:
        ConfigError: ``value`` is neither a numpy Generator nor a whole number from 0.
    """
    if isinstance(value, np.random.Generator):
        return value
    if _is_whole(value) and value >= 0:
        return np.random.default_rng(int(value))
    raise ConfigError(
        f"{who}: {name} must be a numpy Generator or a whole number from 0, got {value!r}"
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
