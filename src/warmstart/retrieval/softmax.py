"""Softmax over rows in numba: sums of exponentials, and noise that samples rows.

The functions take the scores of ``GROUP`` rows at once.
"""

import numpy as np

from warmstart.retrieval.rounding import GROUP, kernel

ROW_LANES = np.uint64(GROUP)
_EXP_ROUNDING = np.float32(1 + 1e-4)
_NO_EXP = np.float32(-87)  # exp of lower numbers is no float32
_2_TO_MINUS_32 = 2.0**-32


@kernel
def any_above(scores: np.ndarray, enough: np.float32) -> bool:
    """Whether any score reaches ``enough``."""
    found = False
    for lane in range(ROW_LANES):
        found |= scores[lane] >= enough
    return bool(found)


# -- sums of exponentials --


@kernel
def sum_up(scores: np.ndarray, query: int, tops: np.ndarray, sums: np.ndarray) -> None:
    """Add exp(score) of some rows to the sum of a query, which is sums x exp(tops)."""
    if any_above(scores, tops[query]):
        before = tops[query]
        for lane in range(ROW_LANES):
            tops[query] = max(tops[query], scores[lane])
        sums[query] *= np.exp(np.float64(before) - np.float64(tops[query]))
    top, total = tops[query], np.float32(0)
    for lane in range(ROW_LANES):
        total += _exp(scores[lane] - top)
    sums[query] += total


@kernel
def _exp(x: np.float32) -> np.float32:
    """Exponential of a number up to 0, to float32's precision, in instructions for many at once."""
    given, x = x, x if x > _NO_EXP else _NO_EXP
    power = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    rest = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    series = np.float32(1.9875691e-4)
    series = series * rest + np.float32(1.3981999e-3)
    series = series * rest + np.float32(8.3334519e-3)
    series = series * rest + np.float32(4.1665796e-2)
    series = series * rest + np.float32(1.6666665e-1)
    series = series * rest + np.float32(0.5)
    series = series * rest * rest + rest + np.float32(1)
    value = series * np.int32((np.int32(power) + np.int32(127)) << 23).view(np.float32)
    return value if given > _NO_EXP else np.float32(0)


# -- noise --


@kernel
def _mix(x: np.uint32) -> np.uint32:
    """The last step of MurmurHash3: every bit of the result depends on every bit of x."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x85EBCA6B))
    x = np.uint32(x ^ (x >> np.uint32(13)))
    x = np.uint32(x * np.uint32(0xC2B2AE35))
    return np.uint32(x ^ (x >> np.uint32(16)))


@kernel
def _upper_bits(row: int | np.uint64, key: np.uint32, other_key: np.uint32) -> np.uint32:
    return _mix(np.uint32(_mix(np.uint32(np.uint32(row) ^ key)) + other_key))


@kernel
def noise(row: int, key: np.uint32, other_key: np.uint32) -> float:
    """Gumbel noise of a row: -log of an exponential variable, from 64 random bits.

    It is large where the variable is small, and a small one keeps its relative precision: among a
    billion rows the largest noise is about 21.
    """
    upper = _upper_bits(row, key, other_key)
    lower = _mix(np.uint32(np.uint32(upper ^ key) + np.uint32(0x9E3779B9)))
    uniform = (upper + (lower + 0.5) * _2_TO_MINUS_32) * _2_TO_MINUS_32
    return -np.log(-np.log1p(-uniform))


@kernel
def any_sampled(
    scores: np.ndarray, row: int, key: np.uint32, other_key: np.uint32, enough: np.float32
) -> bool:
    """Whether score plus noise may reach ``enough`` in any lane.

    It does where the uniform variable is at most 1 - exp(-exp(score - enough)), which is below
    exp(score - enough).
    """
    found, first = False, np.uint64(row)
    for lane in range(ROW_LANES):
        upper = _upper_bits(first + lane, key, other_key)
        uniform = np.float32(upper) * np.float32(_2_TO_MINUS_32)
        difference = scores[lane] - enough
        bound = _exp(difference if difference < 0 else np.float32(0)) * _EXP_ROUNDING
        found |= uniform <= bound
    return bool(found)


@kernel
def noises(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Noise of some rows: float64, shape (rows,)."""
    found = np.empty(len(rows), np.float64)
    for at in range(len(rows)):
        found[at] = noise(rows[at], keys[0], keys[1])
    return found
