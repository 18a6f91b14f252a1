"""Events in the order of their users: what stands before one of them, repeats, pairs."""

import numpy as np
from scipy import sparse

from warmstart.data.histories import Histories


def before(sequences: Histories, events: np.ndarray) -> tuple[Histories, np.ndarray]:
    """Collect the events that stand before each given event in its history.

    Args:
        sequences: all histories.
        events: positions in ``sequences.items``, shape (queries,).

    Returns:
        The earlier events, one history per given event, and their positions in
        ``sequences.items``, int64.
    """
    starts = sequences.offsets[sequences.queries[events]]
    lengths = events - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    times, ratings = sequences.times, sequences.ratings
    histories = Histories(
        offsets,
        sequences.items[rows],
        None if times is None else times[rows],
        None if ratings is None else ratings[rows],
    )
    return histories, rows


def repeated(owners: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Whether each event's item occurred before among the events of the same owner.

    Args:
        owners: int, shape (events,): the user or the dialogue of each event.
        items: int, shape (events,); the events of one owner stand in their order.

    Returns:
        bool, shape (events,).
    """
    _, first = np.unique(owners.astype(np.int64) << 32 | items, return_index=True)
    found = np.ones(len(items), bool)
    found[first] = False
    return found


def pairs_of(histories: Histories, n_items: int) -> sparse.csr_matrix:
    """The items of each history: bool CSR, shape (queries, n_items)."""
    # A copy, since adding up repeats sorts the items of each row in place.
    items = histories.items.copy()
    pairs = sparse.csr_matrix(
        (np.ones(len(items), bool), items, histories.offsets), (len(histories), n_items)
    )
    pairs.sum_duplicates()
    return pairs
