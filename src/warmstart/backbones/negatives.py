"""Draw items that a user has not interacted with, in kernels of numba.

Whether a drawn item is an interaction would take a binary search of the user's row, about eight
dependent reads. A Bloom filter of all interactions answers it in one read, except for one item in
ten, for which the row is searched. So draws are exact, and the filter costs one to two bytes per
interaction.
"""

import numpy as np
from scipy import sparse

from warmstart.backbones.base import shape_of
from warmstart.backbones.threads import Array, Integer, kernel

_TRIES = 100  # draws until a user counts as having every item

_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd; its bits look random, so products spread the pairs


def seen_filter(train: sparse.csr_matrix) -> np.ndarray:
    """Return the filter of a training matrix, for ``draw_unseen``: uint64, a power of two long."""
    words = 1 << max(0, int(train.nnz - 1).bit_length() - 3)  # 8 to 16 bits per interaction
    filled = np.zeros(words, np.uint64)
    rows = np.repeat(np.arange(shape_of(train)[0], dtype=np.int32), np.diff(train.indptr))
    _fill(rows, train.indices, filled)
    return filled


@kernel
def draw_unseen(
    user: Integer, seen: Array, indptr: Array, indices: Array, pool: Array, first: Integer,
    size: Integer, random: Integer,
) -> tuple:  # fmt: skip
    """Draw one of ``pool[first : first + size]`` that row ``user`` does not hold.

    Args:
        user: row of the matrix.
        seen: its ``seen_filter``.
        indptr: of the matrix, CSR with sorted indices.
        indices: of the matrix.
        pool: items, int32.
        first: start of the range of the pool.
        size: length of that range.
        random: state of the generator, uint64.

    Returns:
        The item, or -1 if none was found (the row holds nearly all of the range), and the next
        state.
    """
    for _ in range(_TRIES):
        random = next_random(random)
        item = pool[first + below(random, size)]
        bit = _bit(user, item, len(seen))
        maybe = (seen[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1)
        if maybe == 0 or not _holds(indices, indptr[user], indptr[user + 1], item):
            return np.int64(item), random
    return np.int64(-1), random


@kernel
def next_random(state: Integer) -> Integer:
    """Return the state after ``state``, which must not be 0 (xorshift, 64 bits)."""
    state = np.uint64(state)
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@kernel
def below(random: Integer, n: Integer) -> Integer:
    """Map the upper bits of ``random`` to a number in 0..n-1."""
    return np.int64(((np.uint64(random) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@kernel
def _fill(rows: Array, columns: Array, seen: Array) -> None:
    for k in range(len(rows)):
        bit = _bit(rows[k], columns[k], len(seen))
        seen[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@kernel
def _bit(user: Integer, item: Integer, words: Integer) -> Integer:
    """Hash a pair to a bit of a filter of ``words`` words, a power of two."""
    mixed = ((np.uint64(user) << np.uint64(32)) ^ np.uint64(item)) * _MIX
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX
    return (mixed >> np.uint64(20)) & (np.uint64(words) * np.uint64(64) - np.uint64(1))


@kernel
def _holds(indices: Array, begin: Integer, end: Integer, item: Integer) -> bool:
    """Whether sorted ``indices[begin:end]`` contains ``item``; branch-free, as it is unforeseen."""
    low, length = begin, end - begin
    while length > 1:
        half = length // 2
        low += half * (indices[low + half] <= item)
        length -= half
    return length == 1 and indices[low] == item
