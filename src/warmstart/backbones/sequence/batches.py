"""Histories in batches: windows of bounded length, grouped by length, padded on the right."""

from dataclasses import dataclass

import numpy as np

from warmstart.data.histories import Histories

_BATCHES_PER_GROUP = 16  # histories are sorted by length within this many batches


@dataclass(frozen=True)
class Windows:
    """Runs of consecutive events, each within one history.

    Attributes:
        starts, ends: int64, shape (windows,): window w is ``items[starts[w] : ends[w]]``.
        items: int64 row numbers, shape (events,).
    """

    starts: np.ndarray
    ends: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, histories: Histories, length: int) -> "Windows":
        """Cut histories into windows of at most ``length`` + 1 events, from the newest backwards.

        A window begins with the last event of the one before it, so every event but the first of a
        history is the next item of exactly one window.
        """
        counts = -(-np.maximum(histories.lengths - 1, 0) // length)
        owner = np.repeat(np.arange(len(histories)), counts)
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        ends = histories.offsets[1:][owner] - nth * length
        starts = np.maximum(histories.offsets[:-1][owner], ends - length - 1)
        return cls(starts, ends, histories.items.astype(np.int64))

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each window."""
        return self.ends - self.starts

    def padded(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return items with rows of zeros after short windows, and which places hold events.

        Args:
            windows: numbers of the windows, shape (batch,).

        Returns:
            int64 and bool, both of shape (batch, longest window).
        """
        starts, lengths = self.starts[windows], self.lengths[windows]
        places = np.arange(lengths.max(initial=0))
        real = places < lengths[:, None]
        return np.where(real, self.items[np.where(real, starts[:, None] + places, 0)], 0), real


def batches_by_length(lengths: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divide windows at random into batches of windows of similar lengths, in random order.

    Args:
        lengths: number of events of each window, shape (windows,).
        size: a batch has as many windows as stay within this number of events, at least one.
        rng: the source of randomness.

    Returns:
        The numbers of the windows of each batch, int64.
    """
    order = rng.permutation(len(lengths))
    per_group = max(1, round(_BATCHES_PER_GROUP * size / max(lengths.mean(), 1)))
    batches = []
    for begin in range(0, len(order), per_group):
        group = order[begin : begin + per_group]
        batches += _cut(group[np.argsort(lengths[group], kind="stable")], lengths, size)
    return [batches[number] for number in rng.permutation(len(batches))]


def _cut(windows: np.ndarray, lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut sorted windows where the sum of their lengths would pass a multiple of ``size``."""
    part = (np.cumsum(lengths[windows]) - 1) // size
    return np.split(windows, np.flatnonzero(np.diff(part)) + 1)
