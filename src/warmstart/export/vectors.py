"""The vectors of a fitted recommender: one dot product scores warm and cold items."""

import warnings
from dataclasses import dataclass

import numpy as np

from warmstart.backbones.base import FactorBackbone
from warmstart.backbones.imported import Imported
from warmstart.core import Recommender
from warmstart.data.ids import Ids
from warmstart.errors import DataWarning, UnsupportedError
from warmstart.simulate.hybrid import can_score
from warmstart.simulate.hybrid_recommender import HybridRecommender


@dataclass(frozen=True)
class Vectors:
    """Users and items in one space.

    Attributes:
        user_ids: external ids of the users.
        users: float32, shape (users, width).
        item_ids: external ids of the items.
        items: float32, shape (items, width).
        cold: whether each item had no interactions in the fit, bool, shape (items,).
    """

    user_ids: Ids
    users: np.ndarray
    item_ids: Ids
    items: np.ndarray
    cold: np.ndarray

    @property
    def width(self) -> int:
        """Length of a vector."""
        return self.items.shape[1]

    def only_cold(self) -> "Vectors":
        """Leave out the users and the warm items, whose vectors do not change."""
        rows, no_users = np.flatnonzero(self.cold), np.zeros(0, np.int32)
        return Vectors(
            Ids(self.user_ids.take(no_users), "user"),
            self.users[no_users],
            Ids(self.item_ids.take(rows), "item"),
            self.items[rows],
            self.cold[rows],
        )


def vectors_of(model: Recommender) -> Vectors:
    """Return the vectors of a recommender with a factor backbone.

    Vectors of users and warm items are the backbone's, bit for bit; so is that of a cold item which
    an imported backbone has a vector of. That of any other cold item is the folded-in one, times
    its factor in the fusion and the median over users of the factor that calibrates cold scores:
    ``recommend`` uses each user's own factor, which one vector cannot hold. Items that the model
    cannot score, such as cold ones without a text, are left out.

    Raises:
        NotFittedError: before ``fit`` or ``load``.
        UnsupportedError: the method or its backbone has no such vectors, or cold items are scored
            by the text model alone.
    """
    fitted = model.fitted
    backbone = model.hybrid.backbone if isinstance(model, HybridRecommender) else None
    if not isinstance(model, HybridRecommender) or not isinstance(backbone, FactorBackbone):
        of = "" if backbone is None else f" with the backbone {backbone.name}"
        raise UnsupportedError(
            f"{model.name}{of} has no vectors of users and items in one space; allowed: a method "
            "with a backbone, and one of factors: bpr, ials, imported, lightgcn, ngcf"
        )
    hybrid, catalogue, warm = model.hybrid, fitted.catalogue, fitted.warm
    if hybrid.fusion.weight == 1:
        raise UnsupportedError(
            f"{model.name}: cold items are scored by the text model alone, and have no vectors; "
            "fit with cold_score='fold_in'"
        )
    users, items = backbone.vectors
    rows = hybrid.rows(np.arange(len(hybrid.folded)))
    factor = hybrid.fusion.factor_first * np.median(hybrid.calibration.user_factors)
    found = np.empty((len(catalogue), items.shape[1]), np.float32)
    found[~warm] = rows["folded"] * (rows["item_scales"][:, None] * np.float32(factor))
    kept = warm | catalogue.has_text if "texts" in model.traits.reads else np.ones(len(warm), bool)
    kept[~warm] &= can_score(rows)
    own = warm[: len(items)]
    if isinstance(backbone, Imported):
        own = own | items.any(axis=1)
    own = np.flatnonzero(own)
    found[own] = items[own]
    kept[own] = True
    if hybrid.fusion.weight > 0:
        warnings.warn(
            f"the scores of cold items in this {model.name} are {hybrid.fusion.weight:.0%} scores "
            "of the text model, which vectors do not hold; fit with cold_score='fold_in' for a "
            "model whose vectors tell all",
            DataWarning,
            stacklevel=2,
        )
    chosen = np.flatnonzero(kept)
    item_ids = Ids(catalogue.item_ids.take(chosen), "item")
    return Vectors(fitted.user_ids, users, item_ids, found[chosen], ~warm[chosen])
