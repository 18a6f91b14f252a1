"""The few items of a history whose vectors, added and scaled, come nearest to the sum of all.

Items are taken one by one, each time the one that gives the best cosine with the sum of all. Of
CiteULike-a's histories (48 bytes on average), 31 items keep 99 % of the cold ndcg@20, 15 items
98 % and a random choice of 32 items 98 % (docs/log.md).
"""

import numpy as np
from scipy import sparse

from warmstart.machine import available_cores
from warmstart.retrieval.best import in_threads
from warmstart.retrieval.history_table import number_type
from warmstart.retrieval.rounding import kernel

_TINY = 1e-30


def fewer_items(
    histories: sparse.csr_matrix, item_vectors: np.ndarray, most: int, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Keep at most some items of each history. Nothing of the size items x items is computed.

    Args:
        histories: items of each user, CSR, shape (users, items); its values do not count.
        item_vectors: in a metric in which all directions matter alike, such as that of the scores,
            float32, shape (items, width).
        most: items kept, at least 1.
        threads: None takes all cores of this process.

    Returns:
        Items and scales for ``HistoryTable``: shape (users, most or the longest history), and
        float16, shape (users,). The scale is that with which the sum of the kept items comes
        nearest to that of all, and 1 where all are kept.
    """
    lengths, n_items = np.diff(histories.indptr), len(item_vectors)
    longest = int(lengths.max(initial=0))
    kept = np.full((len(lengths), min(most, longest)), n_items, number_type(n_items))
    scales = np.ones(len(lengths), np.float32)
    vectors = np.ascontiguousarray(item_vectors, np.float32)
    threads = available_cores() if threads is None else threads
    shares = np.linspace(0, len(lengths), threads + 1).astype(int)
    in_threads(
        lambda thread: _keep(
            *(histories.indptr, histories.indices, vectors),
            *(shares[thread], shares[thread + 1], kept, scales),
        ),
        threads,
    )
    return kept, scales.astype(np.float16)


@kernel
def _keep(
    starts: np.ndarray,
    items: np.ndarray,
    vectors: np.ndarray,
    first: int,
    last: int,
    kept: np.ndarray,
    scales: np.ndarray,
) -> None:
    for user in range(first, last):
        history = items[starts[user] : starts[user + 1]]
        if len(history) <= kept.shape[1]:
            for place in range(len(history)):
                kept[user, place] = history[place]
        else:
            scales[user] = _keep_some(history, vectors, kept[user])


@kernel
def _keep_some(history: np.ndarray, vectors: np.ndarray, kept: np.ndarray) -> np.float32:
    """Write the items that are kept in order of their numbers; return the scale."""
    size, width = len(history), vectors.shape[1]
    rows, total = np.empty((size, width), np.float32), np.zeros(width, np.float32)
    for at in range(size):
        rows[at] = vectors[history[at]]
        total += rows[at]
    with_all, own = np.empty(size, np.float32), np.empty(size, np.float32)
    with_kept = np.zeros(size, np.float32)
    for at in range(size):
        with_all[at], own[at] = _product(rows[at], total), _product(rows[at], rows[at])
    is_kept = np.zeros(size, np.bool_)
    overlap, square = np.float64(0), np.float64(0)
    for _ in range(len(kept)):
        best, chosen = -np.inf, 0
        for at in range(size):
            new_square = square + 2 * with_kept[at] + own[at]
            cosine = (overlap + with_all[at]) / np.sqrt(max(new_square, _TINY))
            if not is_kept[at] and cosine > best:
                best, chosen = cosine, at
        is_kept[chosen] = True
        overlap += with_all[chosen]
        square += 2 * with_kept[chosen] + own[chosen]
        for at in range(size):
            with_kept[at] += _product(rows[at], rows[chosen])
    place = 0
    for at in range(size):
        if is_kept[at]:
            kept[place] = history[at]
            place += 1
    return np.float32(overlap / max(square, _TINY))


@kernel
def _product(left: np.ndarray, right: np.ndarray) -> np.float32:
    product = np.float32(0)
    for at in range(len(left)):
        product += left[at] * right[at]
    return product
