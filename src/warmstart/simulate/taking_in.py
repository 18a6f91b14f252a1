"""What methods that simulate interactions share: from the text of a new item to its place.

    text ──read (the LM)──▶ Reading ──place──▶ simulated interactions, affinities ──▶ Warmed

Reading costs a pass of the language model or many; placing costs next to nothing and gives the same
for the same reading. So a service keeps readings, and a restart asks no language model.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from warmstart.core import AddsItems, Recommender, Simulates
from warmstart.data.interactions import Interactions
from warmstart.lm.vectors import TextVectors
from warmstart.simulate.warmed import Warmed, blocks

Reading: TypeAlias = dict[str, np.ndarray]
"""What a language model said of some texts: arrays with one row a text; "vectors" is among them."""


class TakesIn(Recommender, AddsItems, Simulates):
    """A recommender that simulates the users of new items and folds these in."""

    config: Any  # a ColdConfig
    _texts: TextVectors
    _warmed: Warmed

    @abstractmethod
    def read(self, texts: Sequence[str]) -> Reading:
        """All that the language model has to say of new texts."""

    @abstractmethod
    def place(self, reading: Reading) -> tuple[sparse.csr_matrix, np.ndarray]:
        """What a reading comes to; the same for the same reading.

        Returns:
            Simulated interactions, weights in (0, 1], CSR, shape (texts, n_users), and affinities
            to all users, float32, of the same shape.
        """

    @abstractmethod
    def likeliest(self, reading: Reading, affinities: np.ndarray, k: int) -> Interactions:
        """The likeliest users of texts, as ``simulate_texts`` names them.

        Args:
            reading: of the texts.
            affinities: what ``place`` made of it.
            k: users a text; fewer, but equally many for each, where the reading has no more.
        """

    @property
    @abstractmethod
    def calibrated(self) -> bool:
        """Whether the chances of simulated users were fitted to users of held-out items."""

    @property
    def warmed(self) -> Warmed:
        """The backbone with the cold items beside it."""
        return self._warmed

    @property
    def vectors(self) -> np.ndarray:
        """Text vectors of the catalogue, unit length, float32, shape (n_items, width)."""
        return self._texts.rows

    def _add_texts(self, texts: Sequence[str]) -> None:
        n_users = len(self.fitted.user_ids)
        self.config.check_table(self.name, len(self._warmed.folded) + len(texts), n_users)
        reading = self.read(texts)
        for rows in blocks(len(texts), n_users):
            part = {name: array[rows] for name, array in reading.items()}
            self._warmed.append(*self.place(part))
        self._texts.rows = np.concatenate([self._texts.rows, reading["vectors"]])
