"""Which type of weights is fastest: bfloat16 or float32, by a short measurement.

On processors with instructions for bfloat16 (AVX-512 BF16, AMX) a language model is two to three
times as fast in it, on others up to ten times as slow, and no flag tells which.
"""

import time
from functools import cache
from typing import Literal, TypeAlias

import torch
from torch.nn import functional

DType: TypeAlias = Literal["float32", "bfloat16", "float16"]

_ROWS, _WIDTH = 512, 768  # about one batch of texts and one layer of a small model
_REPEATS = 7
_GAIN = 1.2  # of bfloat16, below which float32 stays: it is more exact


@cache
def fastest_dtype(device_type: str) -> DType:
    """Return "bfloat16" where linear maps are at least 1.2 times as fast in it, else "float32".

    The measurement takes some milliseconds, and is made once in a process.

    Args:
        device_type: "cpu" or "cuda".
    """
    if device_type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    seconds = {dtype: _seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    faster = seconds[torch.float32] > _GAIN * seconds[torch.bfloat16]
    return "bfloat16" if faster else "float32"


def _seconds(dtype: torch.dtype) -> float:
    """Measure the shortest time of a linear map; the shortest is the least disturbed one."""
    inputs, weight = (torch.ones(rows, _WIDTH, dtype=dtype) for rows in (_ROWS, 4 * _WIDTH))
    best = float("inf")
    with torch.inference_mode():
        for _ in range(_REPEATS):
            started = time.perf_counter()
            functional.linear(inputs, weight)
            best = min(best, time.perf_counter() - started)
    return best
