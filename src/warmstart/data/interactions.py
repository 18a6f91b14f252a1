"""Interactions, observed or simulated: parallel arrays of row numbers."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.errors import DataError

OBSERVED = "observed"
MIN_WEIGHT = np.float32(1e-6)
"""Smallest weight of an interaction; a weight of 0 would mean no interaction."""
_MAX_ROW = 2**31 - 1


@dataclass(frozen=True)
class Interactions:
    """Events between users and items, as row numbers.

    The events of one user stand in the order of time, then position in the user's sequence; whoever
    builds interactions keeps to it, and ``where`` keeps it.

    Attributes:
        users: int32, shape (events,).
        items: int32, shape (events,).
        weights: float32 in (0, 1], shape (events,); 1 for an observed interaction.
        times: int64, shape (events,): unix seconds or positions in the user's sequence; or None.
        provenance: int8, shape (events,): source of each event, as a position in ``sources``.
        sources: "observed", or names of simulators.
        evidence: the numbers behind the weights of simulated events, by name: float32, shape
            (events,).
    """

    users: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    times: np.ndarray | None
    provenance: np.ndarray
    sources: tuple[str, ...] = (OBSERVED,)
    evidence: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_arrays(
        cls,
        users: np.ndarray | Sequence[int],
        items: np.ndarray | Sequence[int],
        *,
        weights: np.ndarray | None = None,
        times: np.ndarray | None = None,
        provenance: str = OBSERVED,
        evidence: Mapping[str, np.ndarray] | None = None,
    ) -> "Interactions":
        """Build interactions of one provenance from integer arrays; ``weights`` None means 1.

        Raises:
            DataError: row numbers are not whole numbers from 0, or the lengths differ.
        """
        users, items = _row_numbers("users", users), _row_numbers("items", items)
        given = {"users": users, "items": items, "weights": weights, "times": times}
        lengths = {
            name: len(array)
            for name, array in {**given, **(evidence or {})}.items()
            if array is not None
        }
        if len(set(lengths.values())) > 1:
            raise DataError(f"interactions: the lengths of the arrays differ: {lengths}")
        ones = np.ones(len(users), np.float32)
        weights = ones if weights is None else np.asarray(weights, np.float32)
        times = None if times is None else np.asarray(times, np.int64)
        codes = np.zeros(len(users), np.int8)
        return cls(users, items, weights, times, codes, (provenance,), dict(evidence or {}))

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def keys(self) -> np.ndarray:
        """One number per event, equal for events of the same pair: int64, shape (events,)."""
        return self.users.astype(np.int64) << 32 | self.items.astype(np.int64)

    @property
    def provenance_names(self) -> list[str]:
        """Name of the source of each event."""
        return [self.sources[code] for code in self.provenance.tolist()]

    def of_source(self, name: str) -> "Interactions":
        """Select the events of one source, "observed" or a simulator; may be empty."""
        codes = [code for code, source in enumerate(self.sources) if source == name]
        return self.where(np.isin(self.provenance, codes))

    @cached_property
    def hash(self) -> str:
        """sha256 over users, items, weights and times; the order of the events does not matter."""
        times = np.zeros(len(self), np.int64) if self.times is None else self.times
        order = np.lexsort((self.weights, times, self.items, self.users))
        digest = hashlib.sha256(b"timed" if self.times is not None else b"untimed")
        for array in (self.users, self.items, self.weights, times):
            digest.update(np.ascontiguousarray(array[order]).tobytes())
        return digest.hexdigest()

    @cached_property
    def order_hash(self) -> str:
        """sha256 over users, items, weights and times in the order of each user's events."""
        order = np.argsort(self.users, kind="stable")
        times = np.zeros(0, np.int64) if self.times is None else self.times[order]
        digest = hashlib.sha256(b"timed" if self.times is not None else b"untimed")
        for array in (self.users[order], self.items[order], self.weights[order], times):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def where(self, keep: np.ndarray) -> "Interactions":
        """Select events by a boolean mask or by positions."""
        times = None if self.times is None else self.times[keep]
        return Interactions(
            self.users[keep],
            self.items[keep],
            self.weights[keep],
            times,
            self.provenance[keep],
            self.sources,
            {name: values[keep] for name, values in self.evidence.items()},
        )

    def check_rows(self, who: str, n_users: int, n_items: int) -> None:
        """Check that the row numbers are those of known users and items.

        Raises:
            DataError: a row number is negative or too large; the message begins with ``who``.
        """
        for kind, rows, known in (("user", self.users, n_users), ("item", self.items, n_items)):
            wrong = rows[(rows < 0) | (rows >= known)]
            if len(wrong):
                raise DataError(
                    f"{who}: {kind} row {wrong[0]} is unknown; allowed: row numbers of the "
                    f"{known} {kind}s, from 0 to {known - 1}"
                )

    def matrix(self, n_users: int, n_items: int) -> sparse.csr_matrix:
        """Weights as float32 CSR, shape (n_users, n_items); a repeated pair keeps the largest.

        Raises:
            DataError: a row number lies outside the shape.
        """
        self.check_rows("interactions", n_users, n_items)
        order = np.lexsort((-self.weights, self.items, self.users))
        users, items, weights = self.users[order], self.items[order], self.weights[order]
        first = np.ones(len(users), bool)
        first[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
        return sparse.csr_matrix(
            (weights[first], (users[first], items[first])), shape=(n_users, n_items)
        )


def _row_numbers(name: str, values: Any) -> np.ndarray:
    """Convert to int32, shape (events,).

    Raises:
        DataError: a value is not a whole number from 0, or the array has more than one axis.
    """
    try:
        given = np.asarray(values)
    except ValueError:
        raise DataError(f"interactions: {name} must be a list of numbers, got lists") from None
    if given.ndim != 1:
        raise DataError(f"interactions: {name} must have one axis, got shape {given.shape}")
    if not len(given):
        return np.zeros(0, np.int32)
    if given.dtype.kind == "f":
        right = np.floor(given) == given
    else:
        right = np.full(len(given), given.dtype.kind in "iu")
    if right.all():
        right = (given >= 0) & (given <= _MAX_ROW)
    if not right.all():
        first = given.tolist()[int(np.argmin(right))]
        raise DataError(
            f"interactions: {name} must be row numbers, whole numbers from 0 to {_MAX_ROW}; got "
            f"{first!r}"
        )
    return given.astype(np.int32)


def concatenate(parts: Sequence[Interactions]) -> Interactions:
    """Concatenate events, with the times and the evidence that all parts have."""
    sources = tuple(dict.fromkeys(name for part in parts for name in part.sources))
    code_of = [np.array([sources.index(name) for name in part.sources], np.int8) for part in parts]
    times = None
    if all(part.times is not None for part in parts):
        times = np.concatenate([part.times for part in parts if part.times is not None])
    return Interactions(
        np.concatenate([part.users for part in parts]),
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.weights for part in parts]),
        times,
        np.concatenate([code[part.provenance] for code, part in zip(code_of, parts, strict=True)]),
        sources,
        {
            name: np.concatenate([part.evidence[name] for part in parts])
            for name in (parts[0].evidence if parts else ())
            if all(name in part.evidence for part in parts)
        },
    )
