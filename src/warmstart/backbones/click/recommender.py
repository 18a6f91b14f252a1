"""The recommender around a click model: ratings in, probabilities of a like out."""

from typing import Any, cast

import numpy as np

from warmstart.abilities import AddsItems, Predicts
from warmstart.backbones.click import ClickConfig, ClickData, ClickModel, build, label_likelihood
from warmstart.core import FitContext, Recommender
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.data.tasks import LabelTask
from warmstart.errors import DataError, UnsupportedError
from warmstart.process import check_process
from warmstart.run import stage_key

_PAIRS_AT_ONCE = 2**18


class ClickRecommender(Recommender, Predicts, AddsItems):
    """Predicts likes; ranks items by their probability.

    It learns from ``Dataset.ratings``; a rating from ``Dataset.positive_rating`` on is a like. A
    method names the click model by its configuration.
    """

    def _fit(self, data: Dataset, context: FitContext) -> None:
        config = cast(ClickConfig, self.config)
        pairs = self._pairs(data)
        seed = int(context.rng.spawn(1)[0].integers(2**63))
        task = (context.valid or {}).get("all")
        validate, validated_on = None, None
        if isinstance(task, LabelTask):
            validated_on = task.hash
            validate = lambda predict: label_likelihood(predict, task)  # noqa: E731
        self._n_fitted = data.n_items
        self._model: ClickModel = build(config)
        key = stage_key([config, pairs.hash, seed, validated_on])
        with context.run.stage(config.kind, key, code=__name__) as folder:
            self._model.fit(
                pairs, validate=validate, rng=np.random.default_rng(seed), run_folder=folder
            )
        chosen = self._model.chosen_config.model_dump(mode="json")
        if "epochs" in chosen:
            self.fitted.choices = {"epochs": chosen["epochs"]}

    def _pairs(self, data: Dataset) -> ClickData:
        """Collect the rated events as training pairs, with the genres of items.

        Raises:
            DataError: the data have no ratings, or no threshold of a like.
        """
        if data.ratings is None or data.positive_rating is None:
            have = "no ratings" if data.ratings is None else "no positive_rating"
            raise DataError(
                f"{self.name}: learns from liked and disliked items, but {data.name!r} has {have}; "
                "give a column rating and positive_rating, the lowest rating of a like"
            )
        genres = data.catalogue.genre_column
        return ClickData.from_ratings(
            data.ratings,
            threshold=data.positive_rating,
            n_users=data.n_users,
            n_items=data.n_items,
            attributes=None if genres is None else data.catalogue.attribute(genres).matrix,
        )

    def predict_proba(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Predicts.predict_proba``.

        Raises:
            UnsupportedError: an item was added after the fit; or this process was forked from one
                that had used warmstart.
        """
        check_process()
        items = np.asarray(items, np.int32)
        added = items[items >= self._n_fitted]
        if len(added):
            raise UnsupportedError(
                f"{self.name} cannot predict item row {added[0]}, which was added after the fit"
            )
        return self._model.predict_proba(queries, items)

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``: probabilities of a like; NaN for an added item."""
        scores = np.full((len(queries), len(items)), np.nan, np.float32)
        known = np.flatnonzero(items < self._n_fitted)
        step = max(1, _PAIRS_AT_ONCE // max(len(known), 1))
        for start in range(0, len(queries) if len(known) else 0, step):
            rows = np.arange(start, min(start + step, len(queries)))
            pairs = queries.take(np.repeat(rows, len(known)))
            found = self._model.predict_proba(pairs, np.tile(items[known], len(rows)))
            scores[start : start + step, known] = found.reshape(len(rows), len(known))
        return scores

    def _add_items(self, items: Catalogue) -> None:
        """Do nothing: added items cannot be predicted."""

    def _state(self) -> dict[str, np.ndarray]:
        return {**self._model.state(), "n_fitted": np.array([self._n_fitted])}

    def _restore(self, state: dict[str, np.ndarray], lm: Any) -> None:
        self._n_fitted = int(state["n_fitted"][0])
        self._model = build(self.config).restore(state)
