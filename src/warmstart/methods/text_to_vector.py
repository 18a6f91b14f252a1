"""text_to_vector: ridge regression from an item's text to its vector in the space of a backbone.

    interactions ──backbone──▶ vectors of users and warm items
    text ──LM──▶ vector ──(kernel) ridge, warm items' vectors──▶ vector of the cold item

Gantner et al. 2010, "Learning Attribute-to-Feature Mappings for Cold-Start Recommendations" (ICDM),
with text vectors as attributes. The simple rival of the methods that simulate users of the item and
fold it in: the space is the same, so its vectors too fit into a search that is in production.
"""

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones import BackboneConfig, FactorBackbone
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.fit import fit_backbone
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.errors import ConfigError
from warmstart.lm.text_vectors import TextVectors
from warmstart.servable import ItemEncoding, ItemRows
from warmstart.simulate.calibration import (
    CalibrationConfig,
    fit_calibration,
    min_variation,
    reference_items,
)
from warmstart.simulate.hybrid import HybridScorer, scores_over_users
from warmstart.simulate.hybrid_recommender import HybridRecommender
from warmstart.simulate.ridge import RidgeConfig, RidgeHead, VectorRidgeConfig
from warmstart.storage import nest, unnest


class TextToVectorConfig(CalibrationConfig):
    """Settings of text_to_vector; for the calibration of cold scores see ``CalibrationConfig``.

    Attributes:
        backbone: kind and settings of the CF model; one with vectors, so not "ease".
        ridge: settings of the regression.
    """

    backbone: BackboneConfig = Field(default_factory=BprConfig)
    ridge: VectorRidgeConfig = Field(default_factory=RidgeConfig)


class TextToVector(HybridRecommender):
    """Scores warm items by a backbone, and cold ones by the vectors that their texts predict."""

    name = "text_to_vector"
    config_type = TextToVectorConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="content",
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        backbone = fit_backbone(self.config.backbone, data, context)
        if not isinstance(backbone, FactorBackbone):
            raise ConfigError(
                f"{self.name}: backbone {backbone.name!r} has no vectors of items; allowed: bpr, "
                "ials, imported, lightgcn, ngcf"
            )
        self.fitted.choices["backbone"] = backbone.choices
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        warm, vectors = np.flatnonzero(data.warm), self._texts.rows
        targets = sparse.csr_matrix(backbone.vectors[1][warm])
        with context.run.stage("ridge"):
            # The landmarks are drawn with a fixed seed, as those of text_ridge.
            rng = np.random.default_rng(0)
            self._head = RidgeHead.fit(self.config.ridge, vectors[warm], targets, rng)
        self._hybrid = HybridScorer(backbone, data.n_users)
        self._hybrid.append(self._rows_of(vectors[~data.warm]))
        predicted = self._head.score_as_cold(vectors, reference_items(data), data, targets)
        position = np.cumsum(~data.warm) - 1
        with context.run.stage("calibrate"):
            self._hybrid.calibration, chosen = fit_calibration(
                self.config,
                backbone.score,
                lambda u, i: self._hybrid.score_cold(u, position[i]),
                lambda users: scores_over_users(backbone, predicted, users),
                data,
                context.valid,
                min_variation=min_variation(data),
            )
        self.fitted.choices |= chosen

    def _rows_of(self, vectors: np.ndarray) -> ItemRows:
        return self._hybrid.rows_of(self._head.predict(vectors))

    @property
    def text_vectors(self) -> np.ndarray:
        """Unit text vectors of the catalogue, float32, shape (n_items, width)."""
        return self._texts.rows

    def encode_items(self, items: Catalogue, *, audience: int = 0) -> tuple[ItemEncoding, ItemRows]:
        encoding = {"vectors": self._texts.encode(items.texts)}
        return encoding, self.item_rows(encoding)

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        return self._rows_of(encoding["vectors"])

    def _add_items(self, items: Catalogue) -> None:
        encoding, rows = self.encode_items(items)
        self._hybrid.append(rows)
        self._texts.rows = np.concatenate([self._texts.rows, encoding["vectors"]])

    def _state(self) -> dict[str, np.ndarray]:
        head = nest("ridge", self._head.state())
        return {"vectors": self._texts.rows, **head, **self._hybrid.state()}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lms["encoder"], models.encoder)
        self._head = RidgeHead.restore(self.config.ridge, unnest("ridge", state))
        self._hybrid = HybridScorer.restore(self.config.backbone, state)
