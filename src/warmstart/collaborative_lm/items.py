"""What stage 1 of A-LLMRec makes of the items: joint vectors, and vectors in the backbone's space.

An item with a vector of the backbone is represented by it, any other item by its text.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, TypeAlias
from zlib import crc32

import numpy as np

WarmItems: TypeAlias = Literal["vectors", "decoded", "texts"]
"""What represents an item with interactions."""

ItemToken: TypeAlias = Literal["joint", "backbone", "random", "absent"]
"""What a prompt reads after the title of an item."""

Statistics: TypeAlias = tuple[np.ndarray, np.ndarray, float]
"""Mean and standard deviation of e, and root mean square of the backbone's vectors."""


class ItemAlignment(Protocol):
    """A common space of item vectors and text vectors, with a way back to item vectors."""

    def joint(self, vectors: np.ndarray, side: Literal["item", "text"]) -> np.ndarray:
        """Compute the joint vectors of item or text vectors: float32, shape (rows, width)."""
        ...

    def decoded(self, joint: np.ndarray) -> np.ndarray:
        """Decode joint vectors to the backbone's space: float32, shape (rows, item width)."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of an artefact."""
        ...


@dataclass(frozen=True)
class AlignedItems:
    """Items of a catalogue, aligned.

    Attributes:
        alignment: the trained alignment.
        learned: the backbone's vectors, float32, shape (items of the fit, item width), NaN without.
        texts: text vectors of all items, float32, shape (items, text width); zeros without text.
        of_fit: statistics of the items of the fit; None: these are the items of the fit.
        warm_items: see ``AlignmentConfig``.
    """

    alignment: ItemAlignment
    learned: np.ndarray
    texts: np.ndarray
    of_fit: Statistics | None = None
    warm_items: WarmItems = "vectors"

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def has_learned(self) -> np.ndarray:
        """Whether the backbone has a vector of each item: bool, shape (items,)."""
        found = np.zeros(len(self), bool)
        found[: len(self.learned)] = np.isfinite(self.learned).all(axis=1)
        return found

    @cached_property
    def has_text(self) -> np.ndarray:
        """Whether each item has a text: bool, shape (items,)."""
        return np.asarray(self.texts.any(axis=1))

    @cached_property
    def known(self) -> np.ndarray:
        """Whether anything is known of each item, a vector or a text: bool, shape (items,)."""
        return self.has_learned | self.has_text

    @cached_property
    def joint_of_texts(self) -> np.ndarray:
        """Q of all items: float32, shape (items, joint width)."""
        return self.alignment.joint(self.texts, "text")

    @cached_property
    def joint(self) -> np.ndarray:
        """E of the items with a vector of the backbone, q of the others: (items, joint width)."""
        found = self.joint_of_texts.copy()
        own = self.has_learned
        if self.warm_items == "texts":
            own = own & ~self.has_text
        found[own] = self.alignment.joint(self.learned[own[: len(self.learned)]], "item")
        return found

    @cached_property
    def scoring(self) -> np.ndarray:
        """Vectors whose products with states are scores: float32, shape (items, item width).

        Decoded joint vectors, or the backbone's own; NaN for unknown items.
        """
        return self.readable if self.warm_items == "vectors" else self._decoded

    @cached_property
    def readable(self) -> np.ndarray:
        """What the backbone reads in histories: its own vectors, else decoded ones; as above."""
        found = self._decoded.copy()
        found[self.has_learned] = self._own
        return found

    @cached_property
    def _decoded(self) -> np.ndarray:
        found = self.alignment.decoded(self.joint).copy()
        found[~self.known] = np.nan
        return found

    @cached_property
    def slots(self) -> np.ndarray:
        """Joint vectors with the mean 0 and the variance 1 of those of the fit."""
        return self._standard(self.joint)

    @cached_property
    def slots_of_texts(self) -> np.ndarray:
        """The same by the texts, of the items that have one."""
        return np.where(self.has_text[:, None], self._standard(self.joint_of_texts), self.slots)

    @cached_property
    def slots_of_backbone(self) -> np.ndarray:
        """The backbone's vectors with a mean square of 1; zeros for other items."""
        found = np.zeros((len(self), self.learned.shape[1]), np.float32)
        found[self.has_learned] = self._own / self.statistics[2]
        return found

    def slots_of(self, kind: ItemToken) -> np.ndarray:
        """What is read at the slots of the items: float32, shape (items, width of the kind)."""
        if kind == "joint":
            return self.slots
        if kind == "backbone":
            return self.slots_of_backbone
        return self.random_slots if kind == "random" else np.zeros((len(self), 1), np.float32)

    def slots_of_new(self, kind: ItemToken) -> np.ndarray:
        """The same of items that count as new: what their texts say of them, or nothing."""
        if kind == "joint":
            return self.slots_of_texts
        slots = self.slots_of(kind)
        return np.zeros_like(slots) if kind == "backbone" else slots

    @cached_property
    def random_slots(self) -> np.ndarray:
        """Normal vectors that depend on nothing but the text: the control of joint vectors."""
        width = self.joint_of_texts.shape[1]
        drawn = [np.random.default_rng(crc32(row.tobytes())) for row in self.texts]
        rows = [rng.normal(size=width) for rng in drawn]
        return np.asarray(rows, np.float32).reshape(len(self), width)

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the items of the fit."""
        if self.of_fit is not None:
            return self.of_fit
        joint = self.alignment.joint(self._own, "item")
        size = float(np.sqrt(np.square(self._own).mean()))
        return joint.mean(axis=0), np.maximum(joint.std(axis=0), 1e-6), max(size, 1e-12)

    def extended(self, texts: np.ndarray) -> "AlignedItems":
        """Return these items followed by new ones, given by their text vectors."""
        texts = np.concatenate([self.texts, texts])
        return replace(self, texts=texts, of_fit=self.statistics)

    def new(self, texts: np.ndarray) -> "AlignedItems":
        """Return new items alone, given by their text vectors."""
        return replace(self, learned=self.learned[:0], texts=texts, of_fit=self.statistics)

    @property
    def _own(self) -> np.ndarray:
        return self.learned[self.has_learned[: len(self.learned)]]

    def _standard(self, joint: np.ndarray) -> np.ndarray:
        mean, spread, _ = self.statistics
        return ((joint - mean) / spread).astype(np.float32)
