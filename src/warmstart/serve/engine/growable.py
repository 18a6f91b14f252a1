"""Arrays that grow by doubling."""

from typing import Any

import numpy as np


def borrowed(array: np.ndarray) -> np.ndarray:
    """Return a read-only view of another owner's array; a table copies it when it changes it."""
    view = array.view()
    view.flags.writeable = False
    return view


class GrowableTable:
    """Named arrays of equal length that grow together; indexing returns a view, never a copy.

    Args:
        arrays: arrays by name, all of the same length on axis 0; see ``borrowed``.
    """

    def __init__(self, **arrays: np.ndarray) -> None:
        self._arrays = arrays
        self._length = len(next(iter(arrays.values())))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name][: self._length]

    def views(self) -> dict[str, np.ndarray]:
        """Return a view of every array, by name."""
        return {name: self[name] for name in self._arrays}

    def append(self, **row: Any) -> int:
        """Append one row and return its row number; arrays without a given value get zeros."""
        at = self._length
        for name, array in self._arrays.items():
            if at == len(array):
                room = np.zeros((max(64, len(array)), *array.shape[1:]), array.dtype)
                array = self._arrays[name] = np.concatenate([array, room])
            array[at] = row.get(name, 0)
        self._length += 1
        return at

    def set(self, at: int, **row: Any) -> None:
        """Replace the given values of one row."""
        for name, value in row.items():
            if not self._arrays[name].flags.writeable:
                self._arrays[name] = self._arrays[name].copy()
            self._arrays[name][at] = value
