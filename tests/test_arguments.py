"""Every argument of a public function is checked in one way."""

import numpy as np
import pytest

from warmstart.arguments import fraction, generator, positive_number, whole_number
from warmstart.errors import ConfigError, DataError


@pytest.mark.parametrize("value", [0, 3, np.int32(3), np.uint64(3), 10**30])
def test_whole_numbers_of_any_type_become_int(value):
    found = whole_number("f", "n", value, low=0)
    assert (found, type(found)) == (value, int)


@pytest.mark.parametrize("value", [-1, 1.0, np.float64(2), True, np.True_, "1", None, [1], 1j])
def test_other_values_are_named(value):
    with pytest.raises(ConfigError) as caught:
        whole_number("f", "n", value, low=0)
    assert str(caught.value) == f"f: n must be a whole number from 0, got {value!r}"


def test_the_limits_and_the_type_of_the_error_are_those_given():
    assert whole_number("f", "n", 2, low=1, high=2) == 2
    with pytest.raises(DataError, match="f: n must be a whole number from 1 to 2, got 3"):
        whole_number("f", "n", 3, low=1, high=2, error=DataError)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int8(3), 10**300])
def test_positive_numbers_become_float(value):
    found = positive_number("f", "x", value)
    assert (found, type(found)) == (float(value), float)


@pytest.mark.parametrize(
    "value", [0, -1, np.inf, -np.inf, np.nan, np.float32("nan"), True, "1", None, 1j, 10**400]
)
def test_other_values_are_no_positive_numbers(value):
    with pytest.raises(ConfigError, match="f: x must be a finite number above 0, got "):
        positive_number("f", "x", value)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), np.int8(1)])
def test_fractions_become_float(value):
    found = fraction("f", "x", value)
    assert (found, type(found)) == (float(value), float)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf, True, np.False_, "1", None, 1j, 2])
def test_other_values_are_no_fractions(value):
    with pytest.raises(ConfigError, match="f: x must be a number from 0 to 1, got "):
        fraction("f", "x", value)


def test_a_generator_is_returned_and_a_seed_makes_one():
    given = np.random.default_rng(5)
    assert generator("f", "rng", given) is given
    for seed in (0, np.int64(7), 2**200):
        drawn = generator("f", "rng", seed).random()
        assert drawn == np.random.default_rng(int(seed)).random()
    for value in (-1, 1.5, "a", None, True, [1, 2]):
        with pytest.raises(ConfigError, match="f: rng must be a numpy Generator or a whole number"):
            generator("f", "rng", value)
