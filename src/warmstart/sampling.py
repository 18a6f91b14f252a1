"""Samples that need no randomness."""

import numpy as np


def evenly_spaced(n: int, at_most: int) -> np.ndarray:
    """Pick positions among n: all, or ``at_most`` of them, evenly spaced; int64, ascending."""
    return np.linspace(0, n - 1, min(at_most, n)).astype(np.int64)
