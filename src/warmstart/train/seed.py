"""Randomness of libraries that read torch's global state only (initial weights, dropout)."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def torch_seed(rng: np.random.Generator) -> Iterator[None]:
    """Inside, torch's global randomness follows ``rng``; afterwards it is as it was before.

    Takes one draw from ``rng``. On CUDA the states of all devices are kept and given back.
    """
    devices = list(range(torch.cuda.device_count()))  # named: else torch warns where there are many
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(rng.integers(2**63)))
        yield
