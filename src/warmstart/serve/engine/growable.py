"""Arrays that grow by doubling."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def borrowed(array: np.ndarray) -> np.ndarray:
    """Return a read-only view of another owner's array; a table copies it when it changes it."""
    view = array.view()
    view.flags.writeable = False
    return view


class GrowableTable:
    """Named arrays of equal length that grow together; indexing returns a view, never a copy.

    One thread may append and set rows while others read.

    Args:
        arrays: arrays by name, all of the same length on axis 0; see ``borrowed``.
    """

    def __init__(self, **arrays: np.ndarray) -> None:
        self._arrays = arrays
        self._length = len(next(iter(arrays.values())))

    def __len__(self) -> int:
        return self._length

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> np.ndarray:
        length = self._length  # read first: the array may be replaced by a longer one meanwhile
        return self._arrays[name][:length]

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return sum(array.nbytes for array in self._arrays.values())

    def views(self, prefix: str = "", length: int | None = None) -> dict[str, np.ndarray]:
        """Return views of the arrays whose names begin with a prefix, by the rest of the name."""
        length = self._length if length is None else length
        return {
            name.removeprefix(prefix): array[:length]
            for name, array in self._arrays.items()
            if name.startswith(prefix)
        }

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

    def taken(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        """Copies of some rows of every array."""
        return {name: self[name][rows] for name in self._arrays}
