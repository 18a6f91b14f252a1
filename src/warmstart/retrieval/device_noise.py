"""Gumbel noise as a function of a query's key and a global row number, in torch.

Rows sampled by the highest score plus noise are a sample without replacement from the softmax of
the scores. Because the noise is counted and not drawn, a sample depends neither on the size of the
blocks nor on how a table is split. With unsigned 32-bit arithmetic and row < 2^32,

    h1 = mix(mix(row ^ k0) + k1),  h2 = mix((h1 ^ k0) + 0x9E3779B9),  mix: murmur3's finaliser
    v  = (h1 + (h2 + 0.5) 2^-32) 2^-32,  noise = -log(-log1p(-v))    in float64

The noise is large where v is small, and a small v keeps its relative precision.
"""

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
LOG_OF_ALL = 22.180709777918249  # 32 log 2


def gumbel(keys: Tensor, rows: Tensor) -> Tensor:
    """Return the noise, float64, shape (queries, rows).

    Args:
        keys: the two unsigned 32-bit keys of each query, as int64, shape (queries, 2).
        rows: global row numbers, int64, shape (queries, rows) or (1, rows).
    """
    first = _first_hash(keys, rows)
    second = _mix(((first ^ keys[:, :1]) + 0x9E3779B9) & _LOW)
    v = (first.double() + (second.double() + 0.5) * 2.0**-32) * 2.0**-32
    return -torch.log(-torch.log1p(-v))


def gumbel_bound(keys: Tensor, rows: Tensor) -> Tensor:
    """Return an upper bound of the noise that is nearly equal where the noise is large; float32.

    -log1p(-v) >= v >= h1 2^-32, and v >= 2^-65. It takes two thirds of the hashing and one
    logarithm. Arguments as of ``gumbel``.
    """
    first = _first_hash(keys, rows).float()
    return LOG_OF_ALL - torch.log(torch.where(first == 0, 2.0**-33, first))


def _first_hash(keys: Tensor, rows: Tensor) -> Tensor:
    return _mix((_mix(rows ^ keys[:, :1]) + keys[:, 1:]) & _LOW)


def _mix(x: Tensor) -> Tensor:
    """Of numbers below 2^32; products wrap at 2^64, so their low 32 bits are right."""
    x = x ^ (x >> 16)
    x = (x * 0x85EBCA6B) & _LOW
    x = x ^ (x >> 13)
    x = (x * 0xC2B2AE35) & _LOW
    return x ^ (x >> 16)
