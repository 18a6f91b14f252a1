"""Queries: who asks for items, as columns.

A query says who asks in one or more ways: a known user, a history, a text (the dialogue so far).
A method answers by the richest of them that it can (``Traits.answers``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from warmstart.data.control import Control
from warmstart.data.histories import Histories, concatenated
from warmstart.errors import DataError

QueryKind: TypeAlias = Literal["user", "history", "text"]
"""How a query can say who asks: a known user, a history of items, a text."""


@dataclass(frozen=True)
class Queries:
    """Queries in columns of equal length.

    Attributes:
        users: int32 row numbers of users, shape (queries,); -1 for a user who is not known.
        histories: the items that each user had, oldest first, mentioned items of a dialogue too;
            or None.
        texts: what each user says, for example the dialogue so far; or None.
        controls: what each list should be like; or None.
    """

    users: np.ndarray
    histories: Histories | None = None
    texts: tuple[str, ...] | None = None
    controls: tuple[Control, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("histories", "texts", "controls"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.users):
                raise DataError(
                    f"queries: {len(column)} {name} for {len(self.users)} users; allowed: one each"
                )

    @classmethod
    def of_users(cls, users: np.ndarray | Sequence[int]) -> "Queries":
        """Ask for known users, by row number."""
        return cls(np.asarray(users, np.int32))

    @classmethod
    def of_histories(cls, histories: Histories) -> "Queries":
        """Ask for unknown users, by their histories."""
        return cls(np.full(len(histories), -1, np.int32), histories)

    @classmethod
    def of_texts(cls, texts: Sequence[str], histories: Histories | None = None) -> "Queries":
        """Ask by texts, with the items mentioned in each of them, if they are known."""
        return cls(np.full(len(texts), -1, np.int32), histories, tuple(texts))

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def kinds(self) -> frozenset[QueryKind]:
        """The ways in which these queries say who asks."""
        given: dict[QueryKind, bool] = {
            "user": bool((self.users >= 0).any()) or not len(self),
            "history": self.histories is not None,
            "text": self.texts is not None,
        }
        return frozenset(kind for kind, is_given in given.items() if is_given)

    def take(self, rows: np.ndarray) -> "Queries":
        """Select queries by position or boolean mask, in the given order."""
        positions = np.arange(len(self))[rows].tolist()
        texts, controls = self.texts, self.controls
        return Queries(
            self.users[rows],
            None if self.histories is None else self.histories.take(rows),
            None if texts is None else tuple(texts[at] for at in positions),
            None if controls is None else tuple(controls[at] for at in positions),
        )

    def with_histories(self, histories: Histories | None) -> "Queries":
        """Return the same queries with other histories."""
        return replace(self, histories=histories)

    def histories_or(self, of_users: Histories) -> Histories:
        """The history of each query: the given one or, if it is empty, that of its user.

        Args:
            of_users: a history of each user.
        """
        given = self.histories
        own = self.users >= 0
        if given is not None:
            own = own & (given.lengths == 0)
            if not own.any():
                return given
        found = of_users.take(self.users[own])
        lengths = np.zeros(len(self), np.int64)
        lengths[own] = found.lengths
        found = replace(found, offsets=np.concatenate([[0], np.cumsum(lengths)]))
        if given is None:
            return found
        return concatenated([given, found]).take(np.where(own, len(self), 0) + np.arange(len(self)))

    def with_control(self, control: Control) -> "Queries":
        """Return the same queries, all with one control."""
        return replace(self, controls=(control,) * len(self))

    @cached_property
    def hash(self) -> str:
        """sha256 of all columns."""
        digest = hashlib.sha256(self.users.tobytes())
        digest.update(b"none" if self.histories is None else self.histories.hash.encode())
        for text in self.texts or ():
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        for control in self.controls or ():
            digest.update(control.model_dump_json().encode())
        return digest.hexdigest()
