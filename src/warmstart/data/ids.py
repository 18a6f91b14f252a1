"""External ids (strings or integers) and their row numbers; used at the border only."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
import polars as pl

from warmstart.errors import DataError

ExternalId: TypeAlias = int | str


class Ids:
    """An immutable list of distinct external ids; row number = position.

    Ids are all ``int`` or all ``str`` and are returned unchanged.

    Args:
        values: distinct ids, in row order.
        kind: "user" or "item"; named in error messages.

    Raises:
        DataError: ids of mixed types, or an id that occurs twice.
    """

    def __init__(self, values: Iterable[ExternalId], kind: str) -> None:
        self.values: list[ExternalId] = [
            value.item() if isinstance(value, np.generic) else value for value in values
        ]
        self.kind = kind
        types = {type(value) for value in self.values}
        if not types <= {int} and not types <= {str}:
            names = sorted(t.__name__ for t in types)
            raise DataError(f"{kind} ids must be all int or all str, got {names}")
        if len(self._row_of) != len(self.values):
            seen: set[ExternalId] = set()
            twice = next(v for v in self.values if v in seen or seen.add(v))
            raise DataError(f"{kind} id {twice!r} occurs twice")

    @cached_property
    def _row_of(self) -> dict[ExternalId, int]:
        return {value: row for row, value in enumerate(self.values)}

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, value: ExternalId) -> bool:
        return value in self._row_of

    @property
    def is_integer(self) -> bool:
        """Whether the ids are integers (an empty list counts as strings)."""
        return bool(self.values) and isinstance(self.values[0], int)

    def row(self, value: ExternalId) -> int:
        """Row number of an id; -1 for an unknown one."""
        return self._row_of.get(value, -1)

    def rows(self, values: Sequence[ExternalId]) -> np.ndarray:
        """Row numbers, int32 of shape (len(values),); -1 for an unknown id."""
        return np.fromiter((self.row(value) for value in values), np.int32, len(values))

    def known_rows(self, values: Sequence[ExternalId]) -> np.ndarray:
        """Return row numbers like ``rows``, but raise for an unknown id.

        Raises:
            DataError: some ids are unknown; names the first five.
        """
        rows = self.rows(values)
        unknown = [values[i] for i in np.flatnonzero(rows < 0).tolist()]
        if unknown:
            id_type = "integers" if self.is_integer else "strings"
            raise DataError(
                f"{len(unknown)} unknown {self.kind} id(s), the first: {unknown[:5]!r}; "
                f"{len(self)} ids are known, all {id_type}"
            )
        return rows

    def take(self, rows: np.ndarray) -> list[ExternalId]:
        """Return the external ids of row numbers."""
        return [self.values[row] for row in np.asarray(rows).tolist()]

    def extended(self, new: Iterable[ExternalId]) -> "Ids":
        """Return these ids followed by ``new`` ids."""
        return Ids([*self.values, *new], self.kind)

    @cached_property
    def hash(self) -> str:
        """sha256 over types and values in row order."""
        digest = hashlib.sha256(b"int" if self.is_integer else b"str")
        for value in self.values:
            digest.update(str(value).encode())
            digest.update(b"\0")
        return digest.hexdigest()


def id_column(ids: Ids, rows: np.ndarray) -> pl.Series:
    """Convert row numbers to a column of external ids, Int64 or String, also if empty."""
    return pl.Series(ids.take(rows), dtype=pl.Int64 if ids.is_integer else pl.String)
