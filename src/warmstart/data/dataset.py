"""A data set: users, catalogue and the interactions between them."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import sparse

from warmstart.data.catalogue import Catalogue
from warmstart.data.dialogues import Dialogues
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.ratings import Ratings
from warmstart.process import check_process


@dataclass(frozen=True, repr=False)
class Dataset:
    """Users, a catalogue and interactions; immutable.

    Raises:
        DataError: a row number of the interactions is not that of a user or an item.

    Attributes:
        name: name of the data in reports.
        user_ids: external user ids in row order.
        catalogue: all items with texts, warm or cold.
        interactions: the positives.
        below_threshold: pairs that the user rated below the threshold of a positive. They are not
            positives, but seen, and so not recommended. Disjoint from ``interactions``.
        counts: numbers of rows read, duplicates merged, ratings below the threshold, ...; see
            ``readers.assemble``.
        clock: meaning of ``interactions.times``, if known: "unix" seconds, which order the events
            of all users, or the "position" in the sequence of one user, which does not.
        unread_columns: input columns that were not read, each as ``source: column``.
        ratings: all rated events, whatever their rating; None for data without ratings.
        positive_rating: lowest rating of a positive; None if every row is a positive.
        dialogues: dialogues about items of the catalogue; None for data without any.
    """

    name: str
    user_ids: Ids
    catalogue: Catalogue
    interactions: Interactions
    counts: dict[str, int] = field(default_factory=dict)
    clock: Literal["unix", "position"] = "unix"
    unread_columns: tuple[str, ...] = ()
    below_threshold: Interactions = field(default_factory=lambda: Interactions.from_arrays([], []))
    ratings: Ratings | None = None
    positive_rating: float | None = None
    dialogues: Dialogues | None = None

    def __post_init__(self) -> None:
        for events in (self.interactions, self.below_threshold):
            events.check_rows(f"data set {self.name!r}", self.n_users, self.n_items)

    def __repr__(self) -> str:
        text = ", ".join(self.catalogue.text_columns) or "none"
        return (
            f"Dataset({self.name!r}: {self.n_users:,} users, {self.n_items:,} items, "
            f"{len(self.interactions):,} interactions, text columns: {text})"
        )

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.catalogue)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """Interactions as float32 CSR, shape (n_users, n_items)."""
        return self.interactions.matrix(self.n_users, self.n_items)

    @cached_property
    def histories(self) -> Histories:
        """The positives of every user, oldest first: one history per user row."""
        return Histories.from_interactions(self.interactions, self.n_users)

    @cached_property
    def warm(self) -> np.ndarray:
        """Whether each item has at least one interaction: bool, shape (n_items,)."""
        warm = np.zeros(self.n_items, bool)
        warm[self.interactions.items] = True
        return warm

    def with_interactions(self, interactions: Interactions) -> "Dataset":
        """Return the same users and catalogue with other interactions."""
        return replace(self, interactions=interactions)

    def with_permuted_texts(self, rng: np.random.Generator) -> "Dataset":
        """Shuffle the texts among the items, for the ``permuted`` control."""
        check_process()
        order = rng.permutation(self.n_items)
        texts = tuple(self.catalogue.texts[i] for i in order)
        # Shuffle the columns too, so that composing them still gives the texts.
        columns = self.catalogue.columns
        moved = [columns.get_column(name).gather(order) for name in self.catalogue.text_columns]
        columns = columns.with_columns(moved)
        return replace(self, catalogue=replace(self.catalogue, texts=texts, columns=columns))

    @cached_property
    def hash(self) -> str:
        """sha256 over ids, texts and interactions; the order of interactions does not matter."""
        digest = hashlib.sha256()
        digest.update(self.user_ids.hash.encode())
        digest.update(self.catalogue.item_ids.hash.encode())
        for text in self.catalogue.texts:
            digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(b"\0")
        digest.update(self.interactions.hash.encode())
        return digest.hexdigest()
