"""The hybrid scorer: a fitted backbone for warm items; for cold items, fold-in fused with text.

Every method that simulates interactions continues in the same way: it folds them in, fuses the
scores of the folded-in vectors with the text model's user scores if that validates better, and
calibrates cold scores against warm ones. Users and warm items stay bit for bit as they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones import Backbone, BackboneConfig, build
from warmstart.backbones.base import shape_of
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.tasks import Validation, ranking_task
from warmstart.errors import UnsupportedError
from warmstart.fitted import Fitted
from warmstart.similar_users import similar_users
from warmstart.simulate.calibration import (
    CalibrationConfig,
    ColdCalibration,
    fit_calibration,
    min_variation,
    reference_items,
    score_warm_and_cold,
)
from warmstart.simulate.fusion import (
    NORM_EXPONENTS,
    TEXT_WEIGHTS,
    ColdScore,
    ScoreFusion,
    choose_fusion,
)
from warmstart.storage import nest, unnest

_SCORES_AT_ONCE = 2**23  # scores per block of items: 32 MB
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

    def append(
        self,
        interactions: sparse.csr_matrix,
        user_scores: np.ndarray | None = None,
    ) -> None:
        """Fold in cold items and append them behind the present ones.

        Args:
            interactions: simulated or observed, weights in (0, 1], CSR, shape (items, n_users).
            user_scores: the text model's user scores, float32, shape (items, n_users); not needed
                if their weight in the fusion is 0.
        """
        self.append_folded(self.backbone.fold_in(interactions), user_scores)

    def append_folded(
        self,
        folded: np.ndarray,
        user_scores: np.ndarray | None = None,
    ) -> None:
        """As ``append``, for vectors that are folded in already, float32, shape (items, width)."""
        for rows in item_blocks(len(folded), self.text_scores.shape[1]):
            scores = folded[rows, :0] if user_scores is None else user_scores[rows]
            self._append_block(folded[rows], scores)

    def append_unscored(self, n: int) -> None:
        """Append ``n`` cold items that cannot be scored yet: their vectors are NaN."""
        unknown = np.full((n, self.folded.shape[1]), np.nan, np.float32)
        self._append_block(unknown, unknown[:, :0])

    def refold(self, rows: np.ndarray, interactions: sparse.csr_matrix) -> None:
        """Fold in the cold items at these positions again; for a fusion of fold-in alone.

        Text scores and item scales stay as they are.
        """
        folded = self.folded.copy()  # a copy of the scorer may share the array
        folded[rows] = self.backbone.fold_in(interactions)
        self.folded = folded

    def _append_block(self, folded: np.ndarray, user_scores: np.ndarray) -> None:
        scales = self.item_scales_of(folded, user_scores)
        self.folded = np.concatenate([self.folded, folded])
        self.item_scales = np.concatenate([self.item_scales, scales])
        if self.fusion.weight > 0:
            self.text_scores = np.concatenate([self.text_scores, user_scores])

    def item_scales_of(self, folded: np.ndarray, user_scores: np.ndarray) -> np.ndarray:
        """Return the fusion's factor of each of these items, float32, shape (items,)."""
        if self.fusion.norm_exponent == 1:
            return np.ones(len(folded), np.float32)
        first = user_scores  # a placeholder: unused if its weight is 0
        if self.fusion.weight < 1:
            first = scores_over_users(self.backbone, folded, self.text_scores.shape[1])
        return self.fusion.item_scales(first, user_scores)

    def score(self, users: np.ndarray, items: np.ndarray, warm: np.ndarray) -> np.ndarray:
        """Score items for users; ``warm`` is the mask of warm items over all items, bool.

        Returns:
            float32, shape (users, items).
        """
        position = np.cumsum(~warm) - 1
        return score_warm_and_cold(
            users,
            items,
            warm,
            self.backbone.score,
            lambda u, i: self.calibration.apply(u, self.score_cold(u, position[i])),
        )

    def score_cold(self, users: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return uncalibrated scores of the cold items at these positions, (users, rows)."""
        text = folded = np.zeros((len(users), len(rows)), np.float32)
        if self.fusion.weight > 0:
            text = self.text_scores[rows][:, users].T
        if self.fusion.weight < 1:
            folded = self.backbone.score_folded(users, self.folded[rows])
        return self._fused(folded, text, rows)

    def score_cold_histories(
        self, histories: sparse.csr_matrix, weights: sparse.csr_matrix, rows: np.ndarray
    ) -> np.ndarray:
        """As ``score_cold`` for unknown users: by fold-in, and the text scores of similar users.

        Args:
            histories: items of each history, CSR, shape (queries, n_items).
            weights: weights of similar users, CSR, shape (queries, n_users).
            rows: positions of the cold items.
        """
        text = folded = np.zeros((shape_of(histories)[0], len(rows)), np.float32)
        if self.fusion.weight > 0:
            text = np.asarray(weights @ self.text_scores[rows].T, np.float32)
        if self.fusion.weight < 1:
            folded = self.backbone.score_folded_histories(histories, self.folded[rows])
        return self._fused(folded, text, rows)

    def _fused(self, folded: np.ndarray, text: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Fuse both scores of the cold items at these positions, shape (queries, rows)."""
        scores = self.fusion.weighted_sum(folded, text) * self.item_scales[rows]
        # NaN does not always propagate: EASE scores 0 for a user without history.
        scores[:, np.isnan(self.folded[rows]).any(axis=1)] = np.nan
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
        hybrid.append_folded(*cold_vectors(cold[block]))
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


def score_histories(
    hybrid: HybridScorer, fitted: Fitted, histories: Histories, items: np.ndarray
) -> np.ndarray:
    """Score items for unknown users, for a backbone that folds in users.

    Text scores and calibration are those of known users with similar histories.

    Returns:
        float32, shape (histories, items).
    """
    known = histories.matrix(len(fitted.catalogue))
    weights = similar_users(fitted.positives, known)
    calibration = hybrid.calibration.averaged(weights)
    position = np.cumsum(~fitted.warm) - 1

    def score_cold(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
        scores = hybrid.score_cold_histories(known[queries], weights[queries], position[items])
        return calibration.apply(queries, scores)

    return score_warm_and_cold(
        np.arange(len(histories)),
        items,
        fitted.warm,
        lambda queries, items: hybrid.backbone.score_histories(known[queries], items),
        score_cold,
    )


def item_blocks(n_items: int, n_users: int) -> Iterator[slice]:
    """Split items into blocks whose scores over all users take at most 32 MB."""
    size = max(1, _SCORES_AT_ONCE // max(n_users, 1))
    return (slice(start, start + size) for start in range(0, n_items, size))


def scores_over_users(backbone: Backbone, folded: np.ndarray, n_users: int) -> np.ndarray:
    """Score folded-in items for all users; float32, shape (items, n_users)."""
    users = np.arange(n_users, dtype=np.int32)
    return np.ascontiguousarray(backbone.score_folded(users, folded).T)
