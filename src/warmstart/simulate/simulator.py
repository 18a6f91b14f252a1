"""Simulator: turns the text of a new item into simulated users, and adds the item to the scorer.

    text ──encode_texts (the LM)──▶ encoding ──simulate_encoded──▶ simulated interactions,
                                                                   user scores ──▶ HybridScorer

Encoding takes one or more passes of the language model. The later steps are fast and deterministic,
so a service stores encodings and restarts without a language model.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from warmstart.abilities import Simulates
from warmstart.data.catalogue import Catalogue
from warmstart.data.interactions import Interactions
from warmstart.lm.text_vectors import TextVectors
from warmstart.servable import ItemEncoding, ItemRows, item_blocks, take_rows
from warmstart.simulate.hybrid_recommender import HybridRecommender
from warmstart.simulate.user_scores import UserScores

_CALIBRATION = {
    True: "fitted to the users of held-out items",
    False: "not fitted to held-out items: the model was fitted without a validation part",
}


class Simulator(HybridRecommender, Simulates):
    """A recommender that simulates the users of new items and folds the items in."""

    _texts: TextVectors

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> ItemEncoding:
        """Encode new texts: all language-model outputs that the later steps need."""

    @abstractmethod
    def simulate_encoded(self, encoding: ItemEncoding) -> tuple[sparse.csr_matrix, UserScores]:
        """Turn an encoding into simulated interactions and user scores. Deterministic.

        Returns:
            Simulated interactions, CSR with weights in (0, 1], shape (texts, n_users), and the text
            model's scores of all users.
        """

    @abstractmethod
    def top_users(self, encoding: ItemEncoding, user_scores: UserScores, k: int) -> Interactions:
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
    def audience_calibration(self) -> str:
        """As ``Servable.audience_calibration``."""
        return _CALIBRATION[self.has_calibrated_probabilities]

    @property
    def text_vectors(self) -> np.ndarray:
        """Unit text vectors of the catalogue, float32, shape (n_items, width)."""
        return self._texts.rows

    def encode_items(self, items: Catalogue, *, audience: int = 0) -> tuple[ItemEncoding, ItemRows]:
        """As ``Servable.encode_items``.

        The encoding has the folded-in vectors, so that a restart of the service folds nothing in.
        """
        encoding, n_users = self.encode_texts(items.texts), len(self.fitted.user_ids)
        blocks = [
            self._encode_block(take_rows(encoding, rows), min(audience, n_users))
            for rows in item_blocks(max(len(items), 1), self._hybrid.numbers_per_item)
        ]
        added, found = (
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for parts in zip(*blocks, strict=True)
        )
        return encoding | added, found

    def _encode_block(
        self, encoding: ItemEncoding, audience: int
    ) -> tuple[dict[str, np.ndarray], ItemRows]:
        interactions, user_scores = self.simulate_encoded(encoding)
        rows = self._hybrid.rows_of(self._hybrid.backbone.fold_in(interactions), user_scores)
        added = {"folded": rows["folded"], "item_scale": rows["item_scales"][:, None]}
        if audience:
            top = self.top_users(encoding, user_scores, audience)
            shape = (len(user_scores), len(top) // max(len(user_scores), 1))
            added |= {
                "audience": top.users.reshape(shape),
                "probabilities": top.weights.reshape(shape),
            }
        return added, rows

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        """As ``Servable.item_rows``: only the user scores are computed again."""
        scores = None
        if self._hybrid.fusion.weight > 0:
            scores = self.simulate_encoded(encoding)[1]
        return self._hybrid.scaled_rows(encoding["folded"], encoding["item_scale"][:, 0], scores)

    def _add_items(self, items: Catalogue) -> None:
        n_cold = len(self._hybrid.folded) + len(items)
        self.config.check_table(self.name, n_cold, self._hybrid.text_scores.values.shape[1])
        encoding, rows = self.encode_items(items)
        self._hybrid.append(rows)
        self._texts.rows = np.concatenate([self._texts.rows, encoding["vectors"]])
