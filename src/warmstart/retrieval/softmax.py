"""Softmax over rows in numba: sums of exponentials, and noise that samples rows.

The functions take the scores of ``GROUP`` rows at once.
"""

import numpy as np

from warmstart.retrieval.group_scores import any_above, sum_of_exp
from warmstart.retrieval.rounding import GROUP, kernel

ROW_LANES = np.uint64(GROUP)
_2_TO_MINUS_32 = 2.0**-32


# -- sums of exponentials --


@kernel
def sum_up(scores: np.ndarray, query: int, tops: np.ndarray, sums: np.ndarray) -> None:
    """Add exp(score) of some rows to the sum of a query, which is sums x exp(tops)."""
    if any_above(scores, tops[query]):
        before = tops[query]
        for lane in range(ROW_LANES):
            tops[query] = max(tops[query], scores[lane])
        sums[query] *= np.exp(np.float64(before) - np.float64(tops[query]))
    sums[query] += sum_of_exp(scores, tops[query])


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
def noise(row: int, key: np.uint32, other_key: np.uint32) -> float:
    """Gumbel noise of a row: -log of an exponential variable, from 64 random bits.

    It is large where the variable is small, and a small one keeps its relative precision: among a
    billion rows the largest noise is about 21.
    """
    upper = _mix(np.uint32(_mix(np.uint32(np.uint32(row) ^ key)) + other_key))
    lower = _mix(np.uint32(np.uint32(upper ^ key) + np.uint32(0x9E3779B9)))
    uniform = (upper + (lower + 0.5) * _2_TO_MINUS_32) * _2_TO_MINUS_32
    return -np.log(-np.log1p(-uniform))


@kernel
def noises(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Noise of some rows: float64, shape (rows,)."""
    found = np.empty(len(rows), np.float64)
    for at in range(len(rows)):
        found[at] = noise(rows[at], keys[0], keys[1])
    return found
