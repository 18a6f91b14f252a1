"""The recommender around a sequence backbone: histories in, scores of the next item out."""

from typing import Any, cast

import numpy as np

from warmstart.abilities import AddsItems
from warmstart.backbones.sequence import SequenceBackbone, SequenceConfig, build_sequence
from warmstart.core import FitContext, Recommender
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.rank import mean_metric
from warmstart.run import stage_key

METRIC = "ndcg@10"
"""Metric for early stopping, on the validation slice with all queries."""


class SequenceRecommender(Recommender, AddsItems):
    """Scores items by the state of the history; a method names the backbone by its configuration.

    A known user is asked for by the history of the training data. Items without training events
    have no vector, and score NaN.
    """

    def _fit(self, data: Dataset, context: FitContext) -> None:
        config = cast(SequenceConfig, self.config)
        seed = int(context.rng.spawn(1)[0].integers(2**63))
        task, validate, validated_on = context.task("all", "warm"), None, None
        self._vectors: np.ndarray | None = None
        self._backbone = build_sequence(config)
        if task is not None:
            validated_on = task.hash
            validate = lambda: mean_metric(self._score, task, METRIC)  # noqa: E731
        key = stage_key([config, data.n_items, data.interactions.order_hash, seed, validated_on])
        with context.run.stage(f"backbone-{config.kind}", key, code=__name__) as folder:
            self._backbone.fit(
                data.histories,
                data.n_items,
                validate=validate,
                rng=np.random.default_rng(seed),
                run_folder=folder,
            )
        self.fitted.choices = {"epochs": self._backbone.chosen_config.epochs}
        self._vectors = self._backbone.item_vectors

    @property
    def backbone(self) -> SequenceBackbone:
        """The fitted sequence model."""
        return self._backbone

    def _score_users(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``: logits of the next item; NaN for an item without events.

        A user without a history has no state, and so equal scores for all items.
        """
        histories = self.fitted.histories.take(users)
        return self._score_states(np.nan_to_num(self._states(histories)), items)

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """As ``_score_users``; NaN for a history without an item of the training data."""
        return self._score_states(self._states(histories), items)

    def _states(self, histories: Histories) -> np.ndarray:
        return self._backbone.encode(histories.where(histories.items < self._backbone.n_items))

    def _score_states(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        vectors = self._backbone.item_vectors if self._vectors is None else self._vectors
        return states @ vectors[items].T

    def _add_items(self, items: Catalogue) -> None:
        assert self._vectors is not None
        unknown = np.full((len(items), self._vectors.shape[1]), np.nan, np.float32)
        self._vectors = np.concatenate([self._vectors, unknown])

    def _state(self) -> dict[str, np.ndarray]:
        return self._backbone.state()

    def _restore(self, state: dict[str, np.ndarray], lm: Any) -> None:
        self._backbone = build_sequence(self.config).restore(state)
        vectors = self._backbone.item_vectors
        added = len(self.fitted.catalogue) - len(vectors)
        self._vectors = np.pad(vectors, ((0, added), (0, 0)), constant_values=np.nan)
