"""The hybrid scorer: a fitted backbone for warm items; for cold items, fold-in fused with text.

Every method that simulates interactions continues in the same way: it folds them in, fuses the
scores of the folded-in vectors with the text model's user scores if that validates better, and
calibrates cold scores against warm ones. Users and warm items stay bit for bit as they are.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones import Backbone, BackboneConfig, build
from warmstart.data.dataset import Dataset
from warmstart.data.tasks import Validation, ranking_task
from warmstart.errors import UnsupportedError
from warmstart.servable import ItemRows, item_blocks
from warmstart.simulate.calibration import (
    CalibrationConfig,
    ColdCalibration,
    fit_calibration,
    min_variation,
    reference_items,
)
from warmstart.simulate.fusion import (
    NORM_EXPONENTS,
    TEXT_WEIGHTS,
    ColdScore,
    ScoreFusion,
    choose_fusion,
)
from warmstart.storage import nest, unnest

_FOLD_IN_ONLY = ScoreFusion(weight=0.0, norm_exponent=1.0)
_FUSION_FIELDS = [field.name for field in fields(ScoreFusion)]


class HybridConfig(CalibrationConfig):
    """Settings of cold-item scoring, for methods that simulate interactions.

    Attributes:
        cold_score: "fold_in" scores by the folded-in vector, "text" by the text model's user
            scores, "both" by their weighted sum. On CiteULike-a validation "both" had a cold
            ndcg@20 of .256, "text" .249 and "fold_in" .234 (LightGCN, docs/log.md).
        text_weight: weight of the text model's user scores in the weighted sum, in [0, 1]; chosen
            on validation if given. The default favours neither scorer.
        norm_exponent: exponent on the norm of an item's scores, in [0, 1]: 1 keeps predicted
            popularity, 0 removes it (``simulate.fusion``); chosen on validation if given.
        max_score_table_gib: memory limit in GiB for the table of text scores, cold items x users,
            which is kept unless ``cold_score`` is "fold_in".
    """

    cold_score: ColdScore = "both"
    text_weight: float = Field(default=0.5, ge=0, le=1)
    norm_exponent: float = Field(default=0.75, ge=0, le=1)
    max_score_table_gib: float = Field(default=4.0, gt=0)

    def check_table(self, who: str, n_cold: int, n_users: int) -> None:
        """Check that the table of text scores stays within its memory limit.

        Args:
            who: name of the method, for the message.
            n_cold: number of cold items.
            n_users: number of users.

        Raises:
            UnsupportedError: the table needs more than ``max_score_table_gib``.
        """
        gib = n_cold * n_users * 4 / 2**30
        if self.cold_score != "fold_in" and gib > self.max_score_table_gib:
            raise UnsupportedError(
                f"{who}: cold_score={self.cold_score!r} keeps a table of {n_cold} cold items x "
                f"{n_users} users, {gib:.1f} GiB; max_score_table_gib allows "
                f"{self.max_score_table_gib}: raise it, or use cold_score='fold_in'"
            )


@dataclass(frozen=True)
class HybridStates:
    """Who asks, as a hybrid scorer scores items for them.

    Attributes:
        backbone: states of the backbone.
        text_users: known users, int32 row numbers; for unknown ones the weights of the known users
            whose text scores are averaged, CSR, shape (queries, n_users).
        calibration: one factor for each query.
    """

    backbone: Any
    text_users: np.ndarray | sparse.csr_matrix
    calibration: ColdCalibration


class HybridScorer:
    """Scores warm items by the backbone, and appended cold items by fold-in and text.

    Args:
        backbone: the fitted backbone.
        n_users: number of users.
        fusion: combines the folded-in vector's scores (first) and the text model's user scores
            (second); fold-in alone by default.
        calibration: factors on cold scores; none by default.

    Attributes:
        folded: ``backbone.fold_in`` of each cold item, float32, shape (n_cold, width of the
            backbone); a row of NaN is an item that cannot be scored yet.
        item_scales: the fusion's factor of each cold item, float32, shape (n_cold,).
        text_scores: the text model's scores of the cold items over users, float32, shape
            (n_cold, n_users); no rows if the fusion gives them weight 0.
    """

    def __init__(
        self,
        backbone: Backbone,
        n_users: int,
        fusion: ScoreFusion = _FOLD_IN_ONLY,
        calibration: ColdCalibration | None = None,
    ) -> None:
        self.backbone, self.fusion = backbone, fusion
        self.calibration = calibration or ColdCalibration.identity(n_users)
        self.folded = backbone.fold_in(sparse.csr_matrix((0, n_users), dtype=np.float32))
        self.item_scales = np.zeros(0, np.float32)
        self.text_scores = np.zeros((0, n_users), np.float32)

    # -- cold items --

    def rows_of(self, folded: np.ndarray, user_scores: np.ndarray | None = None) -> ItemRows:
        """Return what scoring cold items needs.

        Args:
            folded: folded-in vectors, float32, shape (items, width of the backbone).
            user_scores: the text model's user scores, float32, shape (items, n_users); not needed
                if their weight in the fusion is 0.
        """
        scores = folded[:, :0] if user_scores is None else user_scores
        return self.scaled_rows(folded, self._item_scales_of(folded, scores), user_scores)

    def scaled_rows(
        self, folded: np.ndarray, item_scales: np.ndarray, user_scores: np.ndarray | None
    ) -> ItemRows:
        """As ``rows_of``, for items whose factor in the fusion is known, shape (items,)."""
        rows = {"folded": folded, "item_scales": item_scales}
        if self.fusion.weight > 0:
            assert user_scores is not None
            rows["user_scores"] = user_scores
        return rows

    def append(self, rows: ItemRows) -> None:
        """Append cold items behind the present ones, by their ``rows_of``."""
        self.folded = np.concatenate([self.folded, rows["folded"]])
        self.item_scales = np.concatenate([self.item_scales, rows["item_scales"]])
        if self.fusion.weight > 0:
            self.text_scores = np.concatenate([self.text_scores, rows["user_scores"]])

    def unscored_rows(self, n: int) -> ItemRows:
        """Return rows of ``n`` items that cannot be scored yet; for a fusion of fold-in alone."""
        return self.rows_of(np.full((n, self.folded.shape[1]), np.nan, np.float32))

    def refold(self, positions: np.ndarray, interactions: sparse.csr_matrix) -> None:
        """Fold in the cold items at these positions again; for a fusion of fold-in alone.

        Text scores and item scales stay as they are.
        """
        folded = self.folded.copy()  # a copy of the scorer may share the array
        folded[positions] = self.backbone.fold_in(interactions)
        self.folded = folded

    def _item_scales_of(self, folded: np.ndarray, user_scores: np.ndarray) -> np.ndarray:
        """Return the fusion's factor of each of these items, float32, shape (items,)."""
        if self.fusion.norm_exponent == 1:
            return np.ones(len(folded), np.float32)
        first = user_scores  # a placeholder: unused if its weight is 0
        if self.fusion.weight < 1:
            first = scores_over_users(self.backbone, folded, self.text_scores.shape[1])
        return self.fusion.item_scales(first, user_scores)

    def rows(self, positions: np.ndarray) -> ItemRows:
        """Return the rows of the cold items at these positions."""
        at: Any = positions
        if np.array_equal(positions, np.arange(len(self.folded))):
            at = slice(None)  # all of them: no copy
        texts = self.text_scores[at] if self.fusion.weight > 0 else None
        return self.scaled_rows(self.folded[at], self.item_scales[at], texts)

    # -- scores --

    def user_states(self, users: np.ndarray) -> HybridStates:
        """Return the states of known users, int32 row numbers."""
        return HybridStates(self.backbone.user_states(users), users, self.calibration.take(users))

    def history_states(
        self, histories: sparse.csr_matrix, weights: sparse.csr_matrix
    ) -> HybridStates:
        """Return the states of unknown users, for a backbone that folds in users.

        Args:
            histories: items of each history, CSR, shape (queries, n_items).
            weights: weights of known users with similar histories, who stand for the query in text
                scores and calibration, CSR, shape (queries, n_users).
        """
        states = self.backbone.history_states(histories)
        return HybridStates(states, weights, self.calibration.averaged(weights))

    def score_rows(self, states: HybridStates, rows: ItemRows) -> np.ndarray:
        """Return calibrated scores of cold items, float32, shape (queries, items)."""
        return states.calibration.calibrate(self._fused(states, rows))

    def score_cold(self, users: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return uncalibrated scores of the cold items at these positions, (users, positions)."""
        rows = self.rows(positions)
        scores = self._fused(self.user_states(users), rows)
        scores[:, ~can_score(rows)] = np.nan
        return scores

    def _fused(self, states: HybridStates, rows: ItemRows) -> np.ndarray:
        text = folded = np.zeros((0, 0), np.float32)  # a placeholder: unused if its weight is 0
        if self.fusion.weight > 0:
            text = _text_scores(states.text_users, rows["user_scores"])
        if self.fusion.weight < 1:
            folded = self.backbone.score_folded_states(states.backbone, rows["folded"])
        out = text if self.fusion.weight == 1 else folded
        scores = self.fusion.weighted_sum(folded, text, out)
        scores *= rows["item_scales"]
        return scores

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        return {
            **nest("backbone", self.backbone.state()),
            "folded": self.folded,
            "item_scales": self.item_scales,
            "text_scores": self.text_scores,
            "fusion": np.array([asdict(self.fusion)[name] for name in _FUSION_FIELDS]),
            **self.calibration.state(),
        }

    @classmethod
    def restore(cls, config: BackboneConfig, state: dict[str, np.ndarray]) -> "HybridScorer":
        """Rebuild a scorer from ``state``; ``config`` is that of the backbone."""
        backbone = build(config).restore(unnest("backbone", state))
        fusion = ScoreFusion(**dict(zip(_FUSION_FIELDS, state["fusion"].tolist(), strict=True)))
        calibration = ColdCalibration.restore(state)
        hybrid = cls(backbone, state["text_scores"].shape[1], fusion, calibration)
        hybrid.folded, hybrid.item_scales = state["folded"], state["item_scales"]
        hybrid.text_scores = state["text_scores"]
        return hybrid


def fit_hybrid(
    config: HybridConfig,
    backbone: Backbone,
    simulate: Callable[[np.ndarray], tuple[sparse.csr_matrix, np.ndarray]],
    data: Dataset,
    valid: Validation | None,
    trained: np.ndarray | None = None,
) -> tuple[HybridScorer, dict[str, Any]]:
    """Build the scorer with all cold items of the catalogue; choose constants on validation.

    Args:
        config: settings of cold-item scoring.
        backbone: the fitted backbone.
        simulate: maps row numbers of items to simulated interactions, CSR, shape (items, n_users),
            and the text model's user scores, float32, of the same shape. It must treat a warm item
            as if it were cold.
        data: catalogue and training interactions.
        valid: validation slices; without them the configured constants are used.
        trained: vectors of the cold items in row order, for a backbone that was trained on
            simulated interactions; they replace the folded-in vectors.

    Returns:
        The scorer, and the chosen constants.
    """
    reference = rows = reference_items(data)
    task = ranking_task(valid, "cold")
    if task is not None:
        candidates = task.candidates
        rows = np.union1d(reference, candidates[data.catalogue.has_text[candidates]])
    position = np.cumsum(~data.warm) - 1

    def cold_vectors(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        warm = data.warm[rows]
        if warm.any() and not warm.all():
            parts = [cold_vectors(rows[side]) for side in (warm, ~warm)]
            order = np.argsort(np.concatenate([np.flatnonzero(warm), np.flatnonzero(~warm)]))
            vectors, user_scores = (
                np.concatenate(arrays)[order] for arrays in zip(*parts, strict=True)
            )
            return vectors, user_scores
        interactions, user_scores = simulate(rows)
        if trained is None or warm.any():
            return backbone.fold_in(interactions), user_scores
        return trained[position[rows]], user_scores

    vectors, text = cold_vectors(rows)
    folded = scores_over_users(backbone, vectors, data.n_users)
    weight = (
        config.text_weight if config.cold_score == "both" else TEXT_WEIGHTS[config.cold_score][0]
    )
    exponent, choices = config.norm_exponent, {}
    if task is not None:
        constants = [(w, e) for w in TEXT_WEIGHTS[config.cold_score] for e in NORM_EXPONENTS]
        weight, exponent = choose_fusion(constants, task, rows, folded, text)
        choices = {"text_weight": weight, "norm_exponent": exponent}
    folded, text = (scores[np.isin(rows, reference)] for scores in (folded, text))
    fusion = ScoreFusion.fit(weight, exponent, folded, text)
    hybrid, cold = HybridScorer(backbone, data.n_users, fusion), np.flatnonzero(~data.warm)
    for block in item_blocks(len(cold), data.n_users):
        hybrid.append(hybrid.rows_of(*cold_vectors(cold[block])))
    hybrid.calibration, chosen = fit_calibration(
        config,
        backbone.score,
        lambda u, i: hybrid.score_cold(u, position[i]),
        fusion.weighted_sum(folded, text) * fusion.item_scales(folded, text)[:, None],
        data,
        valid,
        min_variation=min_variation(data),
    )
    return hybrid, choices | chosen


def can_score(rows: ItemRows) -> np.ndarray:
    """Return whether each item has been folded in: bool, shape (items,)."""
    # NaN does not always reach the scores: EASE scores 0 for a user without history.
    return np.asarray(np.isfinite(rows["folded"]).all(axis=1))


def scores_over_users(backbone: Backbone, folded: np.ndarray, n_users: int) -> np.ndarray:
    """Score folded-in items for all users; float32, shape (items, n_users)."""
    users = np.arange(n_users, dtype=np.int32)
    return np.ascontiguousarray(backbone.score_folded(users, folded).T)


def _text_scores(users: np.ndarray | sparse.csr_matrix, user_scores: np.ndarray) -> np.ndarray:
    """Text scores of known users, or their weighted means: float32, (queries, items)."""
    if isinstance(users, np.ndarray):
        return user_scores[:, users].T
    used = np.unique(users.indices)
    return users[:, used] @ np.ascontiguousarray(user_scores[:, used].T)
