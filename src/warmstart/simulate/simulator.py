"""Simulator: turns the text of a new item into simulated users, and adds the item to the scorer.

    text ──encode_items (the LM)──▶ ItemEncoding ──simulate_encoded──▶ simulated interactions,
                                                                       user scores ──▶ HybridScorer

Encoding takes one or more passes of the language model. The later steps are fast and deterministic,
so a service stores encodings and restarts without a language model.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from scipy import sparse

from warmstart.abilities import AddsItems, Simulates
from warmstart.core import Recommender
from warmstart.data.catalogue import Catalogue
from warmstart.data.histories import Histories
from warmstart.data.interactions import Interactions
from warmstart.lm.text_vectors import TextVectors
from warmstart.simulate.hybrid import HybridScorer, item_blocks, score_histories

ItemEncoding: TypeAlias = dict[str, np.ndarray]
"""Language-model outputs for some texts: arrays with one row per text, "vectors" among them."""


class Simulator(Recommender, AddsItems, Simulates):
    """A recommender that simulates the users of new items and folds the items in."""

    _texts: TextVectors
    _hybrid: HybridScorer

    @abstractmethod
    def encode_items(self, texts: Sequence[str]) -> ItemEncoding:
        """Encode new texts: all language-model outputs that the later steps need."""

    @abstractmethod
    def simulate_encoded(self, encoding: ItemEncoding) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Turn an encoding into simulated interactions and user scores. Deterministic.

        Returns:
            Simulated interactions, CSR with weights in (0, 1], shape (texts, n_users), and the text
            model's scores of all users, float32, of the same shape.
        """

    @abstractmethod
    def top_users(self, encoding: ItemEncoding, user_scores: np.ndarray, k: int) -> Interactions:
        """Return the k likeliest users of each text, as ``simulate_texts`` does.

        Args:
            encoding: the encoding of the texts.
            user_scores: their user scores from ``simulate_encoded``.
            k: users per text; if the encoding holds fewer, every text gets that smaller number.
        """

    @property
    @abstractmethod
    def has_calibrated_probabilities(self) -> bool:
        """Whether the weights of simulated users were fitted to true users of held-out items."""

    @property
    def hybrid(self) -> HybridScorer:
        """The fitted scorer of warm and cold items."""
        return self._hybrid

    def _score_users(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``: the backbone's scores; calibrated scores for cold items."""
        return self._hybrid.score(users, items, self.fitted.warm)

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """As ``_score_users``, by the backbone's fold-in of the history if it has one."""
        if not self._folds_in_histories:
            return super()._score_histories(histories, items)
        return score_histories(self._hybrid, self.fitted, histories, items)

    @property
    def _folds_in_histories(self) -> bool:
        return self._hybrid.backbone.folds_in_users

    @property
    def vectors(self) -> np.ndarray:
        """Text vectors of the catalogue, unit length, float32, shape (n_items, width)."""
        return self._texts.rows

    def _add_items(self, items: Catalogue) -> None:
        texts, n_users = items.texts, len(self.fitted.user_ids)
        self.config.check_table(self.name, len(self._hybrid.folded) + len(texts), n_users)
        encoding = self.encode_items(texts)
        for rows in item_blocks(len(texts), n_users):
            block = {name: array[rows] for name, array in encoding.items()}
            self._hybrid.append(*self.simulate_encoded(block))
        self._texts.rows = np.concatenate([self._texts.rows, encoding["vectors"]])
