"""The recommender around a click model: ratings in, probabilities of a like out."""

from typing import cast

import numpy as np
from scipy import sparse

from warmstart.abilities import AddsItems, Predicts
from warmstart.backbones.base import required_arrays
from warmstart.backbones.click import ClickConfig, ClickData, ClickModel, build, label_likelihood
from warmstart.core import FitContext, LanguageModels, Recommender
from warmstart.data.attributes import Attribute
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.data.tasks import LabelTask
from warmstart.run import stage_key


class ClickRecommender(Recommender, Predicts, AddsItems):
    """Predicts likes; ranks items by their probability.

    It learns from ``Dataset.ratings``; a rating from ``Dataset.positive_rating`` on is a like. A
    method names the click model by its configuration. An item that is new after the fit is
    predicted from its genres; genres that no item of the fit has are left out.
    """

    _known: Catalogue | None  # that of the fit, without items added later

    def _fit(self, data: Dataset, context: FitContext) -> None:
        config = cast(ClickConfig, self.config)
        self._n_fit, self._known = data.n_items, data.catalogue
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
        genres = self._genres()
        return ClickData.from_ratings(
            data.ratings,
            threshold=data.positive_rating,
            n_users=data.n_users,
            n_items=data.n_items,
            attributes=None if genres is None else genres.matrix,
        )

    def _predict(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Predicts.predict_proba``."""
        return self._model.predict_proba(queries, items.astype(np.int32))

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``: probabilities of a like."""
        return self._score_by_probability(queries, items)

    def _add_items(self, items: Catalogue) -> None:
        genres, attributes = self._genres(), None
        if genres is not None:
            attributes = sparse.csr_matrix((len(items), len(genres.values)), dtype=bool)
            if genres.name in items.columns.columns:
                attributes = items.attribute(genres.name).matrix_of(genres.values)
        self._model.add_items(len(items), attributes)

    def _state(self) -> dict[str, np.ndarray]:
        return {**self._model.state(), "n_items_of_fit": np.array([self._n_fit])}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        (n_items,) = required_arrays(self.name, state, "n_items_of_fit")
        self._n_fit = int(n_items[0])
        self._known = None
        self._model = build(self.config).restore(state)

    def _genres(self) -> Attribute | None:
        """Read the genres of the items of the fit; after loading, when items are first added."""
        if self._known is None:
            self._known = self.fitted.catalogue.take(np.arange(self._n_fit))
        name = self._known.genre_column
        return None if name is None else self._known.attribute(name)
