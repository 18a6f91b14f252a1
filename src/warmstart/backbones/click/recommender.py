"""The recommender around a click model: ratings in, probabilities of a like out."""

from typing import Any, cast

import numpy as np

from warmstart.abilities import Predicts
from warmstart.backbones.click import ClickConfig, ClickData, ClickModel, build, label_likelihood
from warmstart.core import FitContext, Recommender
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.data.tasks import LabelTask
from warmstart.run import stage_key


class ClickRecommender(Recommender, Predicts):
    """Predicts likes; ranks items by their probability.

    It learns from ``Dataset.ratings``; a rating from ``Dataset.positive_rating`` on is a like. A
    method names the click model by its configuration. Items that are new after the fit need another
    fit.
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
        """Collect the rated events as training pairs, with the genres of items."""
        assert data.ratings is not None, "``fit`` has checked what the method reads"
        assert data.positive_rating is not None
        genres = data.catalogue.genre_column
        return ClickData.from_ratings(
            data.ratings,
            threshold=data.positive_rating,
            n_users=data.n_users,
            n_items=data.n_items,
            attributes=None if genres is None else data.catalogue.attribute(genres).matrix,
        )

    def _predict(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Predicts.predict_proba``."""
        return self._model.predict_proba(queries, items.astype(np.int32))

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``: probabilities of a like."""
        return self._score_by_probability(queries, items)

    def _state(self) -> dict[str, np.ndarray]:
        return self._model.state()

    def _restore(self, state: dict[str, np.ndarray], lm: Any) -> None:
        self._model = build(self.config).restore(state)
