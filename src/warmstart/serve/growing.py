"""Arrays with one row a slot, which grow by doubling."""

from typing import Any

import numpy as np


class Growing:
    """Arrays of one length that grow together; what is read of them is a view, never a copy.

    Args:
        arrays: by name; their first axes agree.
    """

    def __init__(self, **arrays: np.ndarray) -> None:
        self._arrays = arrays
        self._length = len(next(iter(arrays.values())))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name][: self._length]

    def append(self, **row: Any) -> int:
        """Add one row, zeros where nothing is given; returns its number."""
        at = self._length
        for name, array in self._arrays.items():
            if at == len(array):
                room = np.zeros((max(64, len(array)), *array.shape[1:]), array.dtype)
                array = self._arrays[name] = np.concatenate([array, room])
            array[at] = row.get(name, 0)
        self._length += 1
        return at
