"""Seed libraries that use only torch's global random state (initial weights, dropout)."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def torch_seed(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's global random state from ``rng`` inside the block; restore it afterwards.

    Takes one draw from ``rng``. The states of all CUDA devices are restored too.
    """
    devices = list(range(torch.cuda.device_count()))  # explicit: torch warns of many otherwise
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(rng.integers(2**63)))
        yield
