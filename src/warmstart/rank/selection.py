"""The k best candidates of each query, with seeded random ties."""

from functools import lru_cache

import numpy as np
from scipy import sparse

from warmstart.errors import ConfigError, DataError

# Pairs that ``top_k`` sorts at a time; its temporaries take about 25 bytes per pair, 26 MB in all.
_PAIRS_AT_ONCE = 2**20
_UNRANKED = np.int32(2**31 - 1)


def top_k(
    scores: np.ndarray,
    k: int,
    *,
    masked: sparse.csr_matrix | None = None,
    tie_order: np.ndarray | None = None,
    tie_shift: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Select the k best candidates of each query, best first.

    Each pair has a 64-bit key, (descending score, position in the tie order). The keys of a query
    are all different, so one partial sort also resolves ties at the cut-off k.

    Args:
        scores: float32, shape (queries, candidates).
        k: length of the lists.
        masked: CSR, shape (queries, candidates); pairs with a non-zero value are never returned.
        tie_order: a permutation of 0..candidates-1, or one for each query, shape (queries,
            candidates): the position of each candidate among equal scores. None takes a fixed
            random permutation.
        tie_shift: int, shape (queries,): positions by which each query rotates the tie order;
            None rotates none.

    Returns:
        positions (int32) and scores (float32) of shape (queries, k), padded with -1 and NaN if
        fewer than k candidates can be ranked.

    Raises:
        ConfigError: k is not positive.
        DataError: scores or mask have the wrong shape or dtype.
    """
    if k < 1:
        raise ConfigError(f"top_k: k must be at least 1, got {k}")
    scores = as_float32(scores, "top_k")
    n_queries, n_candidates = scores.shape
    if masked is not None and masked.shape != scores.shape:
        raise DataError(f"top_k: scores have shape {scores.shape}, the mask {masked.shape}")
    order = np.atleast_2d(random_order(n_candidates) if tie_order is None else tie_order)
    shift = np.zeros(n_queries, np.int64) if tie_shift is None else tie_shift
    positions = np.full((n_queries, k), -1, np.int32)
    best = np.full((n_queries, k), np.nan, np.float32)
    if n_candidates == 0:
        return positions, best
    candidate_at = np.argsort(order, axis=1).astype(np.int32)
    step = max(1, _PAIRS_AT_ONCE // n_candidates)
    for start in range(0, n_queries, step):
        rows = slice(start, min(start + step, n_queries))
        block = scores[rows]
        part = slice(None) if len(order) == 1 else rows
        found = _best_keys(
            block, None if masked is None else masked[rows], k, order[part], shift[rows]
        )
        place = ((found & 0xFFFFFFFF) - shift[rows, None]) % n_candidates
        at = np.broadcast_to(candidate_at[part], block.shape)
        chosen = np.take_along_axis(at, place, axis=1)
        ranked = (found >> 32) != _UNRANKED
        width = found.shape[1]
        positions[rows, :width] = np.where(ranked, chosen, -1)
        values = np.take_along_axis(block, chosen, axis=1)
        best[rows, :width] = np.where(ranked, values, np.nan)
    return positions, best


@lru_cache(maxsize=16)
def random_order(size: int, seed: int = 0) -> np.ndarray:
    """Draw a permutation of 0..size-1: int64, read-only, the same for the same arguments."""
    order = np.random.default_rng(seed).permutation(size)
    order.flags.writeable = False
    return order


def _best_keys(
    scores: np.ndarray,
    masked: sparse.csr_matrix | None,
    k: int,
    order: np.ndarray,
    shift: np.ndarray,
) -> np.ndarray:
    """Compute the min(k, candidates) smallest keys of each row: int64, ascending."""
    # The bits of float32 numbers sort like integers once those of negative numbers are flipped;
    # adding 0 turns -0.0 into 0.0.
    bits = (scores + np.float32(0)).view(np.int32)
    descending = np.invert(bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF)))
    descending[np.isnan(scores)] = _UNRANKED
    if masked is not None:
        descending[masked.nonzero()] = _UNRANKED
    n_candidates = scores.shape[1]
    place = (order - n_candidates) + shift[:, None]
    place += (place >> 63) & n_candidates  # modulo, without the division
    keys = descending.astype(np.int64)
    keys <<= 32
    keys |= place
    if k < n_candidates:
        keys.partition(k - 1, axis=1)
    best = keys[:, :k]
    best.sort(axis=1)
    return best


def as_float32(scores: np.ndarray, caller: str) -> np.ndarray:
    """Return float32 or float16 scores, shape (queries, candidates), as float32.

    Raises:
        DataError: another number of axes or another dtype; names the caller.
    """
    if scores.ndim != 2:
        raise DataError(
            f"{caller}: scores must have two axes (queries, candidates), got {scores.ndim}"
        )
    if scores.dtype not in (np.float32, np.float16):
        # Narrowing float64 could make unequal scores equal.
        raise DataError(f"{caller}: scores must be float32, got {scores.dtype}")
    return scores.astype(np.float32, copy=False)
