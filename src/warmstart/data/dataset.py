"""A data set: users, catalogue and the interactions between them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import sparse

from warmstart.data.catalogue import Catalogue
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions


@dataclass(frozen=True)
class Dataset:
    """Users, catalogue, interactions.

    Attributes:
        name: how reports call it.
        user_ids: external user ids in row order.
        catalogue: all items with texts, warm or not.
        interactions: the positives.
        counts: what reading did: rows read, duplicates merged, ratings below the threshold, ...;
            see ``assemble``.
        clock: what ``interactions.times`` mean where they are known: "unix" seconds, which order
            the events of all users, or the "position" in the user's own sequence, which does not.
    """

    name: str
    user_ids: Ids
    catalogue: Catalogue
    interactions: Interactions
    counts: dict[str, int] = field(default_factory=dict)
    clock: Literal["unix", "position"] = "unix"

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        items: Any = None,
        *,
        user: str = "user",
        item: str = "item",
        rating: str | None = None,
        time: str | None = None,
        position: str | None = None,
        text: Sequence[str] | None = None,
        positive_rating: float | None = None,
        name: str = "frames",
        on_unknown_item: Literal["add", "raise"] = "add",
    ) -> "Dataset":
        """A data set from pandas, polars or Arrow frames, or from mappings of column to values.

        Args:
            interactions: one row an event.
            items: one row an item; or None, where only ids are known.
            user: the user id column.
            item: the item id column, called the same in both frames.
            rating: the column of ratings, where there is one.
            time: the column of times (unix seconds, ISO 8601 or a datetime), where there is one.
            position: the column with the order in the user's sequence, where there is one.
            text: the columns of ``items`` that make the text, in order; by default those of
                title, genres, categories, tags and text that are there.
            positive_rating: ratings from here on are positives.
            name: how reports call the data.
            on_unknown_item: "add" an item that is missing from ``items`` to the catalogue
                without text, or "raise".

        Raises:
            DataError: a frame, column, id, rating or time is wrong; names row, column and value.
        """
        # Imported here since frames and files build Datasets.
        from warmstart.data.assemble import Columns, assemble
        from warmstart.data.tables import frame_table

        return assemble(
            frame_table(interactions, "the interactions frame"),
            None if items is None else frame_table(items, "the items frame"),
            columns=Columns(user, item, rating, time, position),
            name=name,
            text=text,
            positive_rating=positive_rating,
            on_unknown_item=on_unknown_item,
        )

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items of the catalogue."""
        return len(self.catalogue)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """Interactions as float32 CSR, shape (n_users, n_items)."""
        return self.interactions.matrix(self.n_users, self.n_items)

    @cached_property
    def warm(self) -> np.ndarray:
        """Which items have at least one interaction: bool, shape (n_items,)."""
        warm = np.zeros(self.n_items, bool)
        warm[self.interactions.items] = True
        return warm

    def with_interactions(self, interactions: Interactions) -> "Dataset":
        """The same users and catalogue with other interactions."""
        return replace(self, interactions=interactions)

    def with_permuted_texts(self, rng: np.random.Generator) -> "Dataset":
        """The control: the same texts, dealt out to the items at random."""
        order = rng.permutation(self.n_items)
        texts = tuple(self.catalogue.texts[i] for i in order)
        # The columns move along, so that the texts can still be composed from them.
        columns = self.catalogue.columns
        moved = [columns.get_column(name).gather(order) for name in self.catalogue.text_columns]
        columns = columns.with_columns(moved)
        return replace(self, catalogue=replace(self.catalogue, texts=texts, columns=columns))

    @cached_property
    def hash(self) -> str:
        """sha256 over ids, texts and interactions, whatever the order of the interactions."""
        digest = hashlib.sha256()
        digest.update(self.user_ids.hash.encode())
        digest.update(self.catalogue.item_ids.hash.encode())
        for text in self.catalogue.texts:
            digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(b"\0")
        digest.update(self.interactions.hash.encode())
        return digest.hexdigest()
