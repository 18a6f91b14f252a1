"""The recommender around a sequence backbone: histories in, scores of the next item out."""

from typing import cast

import numpy as np
from scipy import sparse

from warmstart.abilities import FoldsIn
from warmstart.backbones.fit import fit_sequence
from warmstart.backbones.sequence import SequenceBackbone, SequenceConfig, build_sequence
from warmstart.backbones.sequence.fold_in import SAMPLE_SIZE, ItemFoldIn
from warmstart.core import FitContext, LanguageModels
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.sampling import evenly_spaced
from warmstart.servable import ItemEncoding, ItemRows, ProductServable
from warmstart.similar_users import SimilarUsers


class SequenceRecommender(ProductServable, FoldsIn):
    """Scores items by the state of the history; a method names the backbone by its configuration.

    A known user is asked for by the history of the training data. Items without training events
    have no vector, and score NaN, until interactions with them are folded in: each is an event
    after the history of its user.
    """

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._backbone = fit_sequence(cast(SequenceConfig, self.config), data, context)
        self.fitted.choices = {"epochs": self._backbone.chosen_config.epochs}
        self._vectors, self._item_fold_in = self._backbone.item_vectors, None

    @property
    def backbone(self) -> SequenceBackbone:
        """The fitted sequence model."""
        return self._backbone

    def _user_states(self, users: np.ndarray) -> np.ndarray:
        """States of the histories of the training data.

        A user without one has no state, and so equal scores for all items: zeros.
        """
        return np.nan_to_num(self._states(self.fitted.histories.take(users)))

    def _history_states(self, histories: Histories, similar: SimilarUsers) -> np.ndarray:
        """NaN for a history without an item of the training data."""
        return self._states(histories)

    def _states(self, histories: Histories) -> np.ndarray:
        return self._backbone.encode(histories.where(histories.items < self._backbone.n_items))

    @property
    def counts_in_histories(self) -> np.ndarray:
        """Items of the training data with a vector: those that stand beside others in a history."""
        return self.fitted.warm & np.isfinite(self._vectors[:, 0])  # a vector is finite or NaN

    @property
    def _vectors_of_items(self) -> np.ndarray:
        """Learned ones, and those of the items that were folded in."""
        return self._vectors

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        return {"vectors": self._no_vectors(len(encoding["vectors"]))}

    def observed_rows(self, clicks: sparse.csr_matrix) -> ItemRows:
        """Vectors of the items, folded in from the states of the users who clicked them."""
        users = np.unique(clicks.indices).astype(np.int32)
        states = self._states(self.fitted.histories.take(users))
        known = np.isfinite(states).all(axis=1)
        events = sparse.csr_matrix(clicks[:, users[known]])
        return {"vectors": self._fold_in_states.vectors(states[known], events)}

    def _score_observed_rows(self, states: np.ndarray, rows: ItemRows) -> np.ndarray:
        return self._score_item_rows(states, rows)

    @property
    def _fold_in_states(self) -> ItemFoldIn:
        """What fold-in needs of all users; computed on first use."""
        if self._item_fold_in is None:
            histories = self.fitted.histories
            sample = evenly_spaced(len(histories), SAMPLE_SIZE)
            states = self._states(histories.take(sample))
            self._item_fold_in = self._backbone.item_fold_in(states)
        return self._item_fold_in

    def _fold_in(self, rows: np.ndarray, clicks: sparse.csr_matrix) -> None:
        vectors = self._vectors.copy()
        vectors[rows] = self.observed_rows(clicks)["vectors"]
        self._vectors = vectors

    def _add_items(self, items: Catalogue) -> None:
        self._vectors = np.concatenate([self._vectors, self._no_vectors(len(items))])

    def _no_vectors(self, n: int) -> np.ndarray:
        """Vectors of items without events: NaN."""
        return np.full((n, self.config.width), np.nan, np.float32)

    def _state(self) -> dict[str, np.ndarray]:
        cold = self._vectors[~self.fitted.warm]
        return {**self._backbone.state(), "cold_vectors": cold}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._backbone, self._item_fold_in = build_sequence(self.config).restore(state), None
        vectors = self._backbone.item_vectors
        added = len(self.fitted.catalogue) - len(vectors)
        self._vectors = np.pad(vectors, ((0, added), (0, 0)), constant_values=np.nan)
        self._vectors[~self.fitted.warm] = state["cold_vectors"]
