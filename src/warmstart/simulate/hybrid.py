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
from warmstart.data.tasks import RankingTask, Validation, ranking_task
from warmstart.errors import UnsupportedError
from warmstart.sampling import evenly_spaced
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
from warmstart.simulate.user_scores import UserScores, sample_of_users
from warmstart.storage import nest, unnest

_MAX_SCORES = 2**28  # of an array over users: 1 GiB
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
            which is kept unless ``cold_score`` is "fold_in", or the scores are products of vectors
            (``ridge.rank``).
    """

    cold_score: ColdScore = "both"
    text_weight: float = Field(default=0.5, ge=0, le=1)
    norm_exponent: float = Field(default=0.75, ge=0, le=1)
    max_score_table_gib: float = Field(default=4.0, gt=0)

    def check_table(self, who: str, n_cold: int, width: int) -> None:
        """Check that the table of text scores stays within its memory limit.

        Args:
            who: name of the method, for the message.
            n_cold: number of cold items.
            width: how many numbers the text scores of an item take: the number of users, or the
                width of vectors.

        Raises:
            UnsupportedError: the table needs more than ``max_score_table_gib``.
        """
        gib = n_cold * width * 4 / 2**30
        if self.cold_score != "fold_in" and gib > self.max_score_table_gib:
            raise UnsupportedError(
                f"{who}: cold_score={self.cold_score!r} keeps a table of {n_cold} cold items x "
                f"{width} users, {gib:.1f} GiB; max_score_table_gib allows "
                f"{self.max_score_table_gib}: raise it, use cold_score='fold_in', or a ridge.rank, "
                f"with which the table has that many numbers for an item"
            )


@dataclass(frozen=True)
class HybridStates:
    """Who asks, as a hybrid scorer scores items for them.

    Attributes:
        backbone: states of the backbone.
        text_users: known users, int32 row numbers; for unknown ones the weights of the known users
            whose text scores are averaged, CSR, shape (queries, n_users). If text scores are
            products, the vectors of the queries, float32, shape (queries, width).
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
        text_users: vectors of the users if the text model's user scores are products, float32,
            shape (n_users, width).

    Attributes:
        folded: ``backbone.fold_in`` of each cold item, float32, shape (n_cold, width of the
            backbone); a row of NaN is an item that cannot be scored yet.
        item_scales: the fusion's factor of each cold item, float32, shape (n_cold,).
        text_scores: the text model's scores of the cold items over users; no rows if the fusion
            gives them weight 0.
    """

    def __init__(
        self,
        backbone: Backbone,
        n_users: int,
        fusion: ScoreFusion = _FOLD_IN_ONLY,
        calibration: ColdCalibration | None = None,
        text_users: np.ndarray | None = None,
    ) -> None:
        self.backbone, self.fusion = backbone, fusion
        self._sample = sample_of_users(n_users)
        self.calibration = calibration or ColdCalibration.identity(n_users)
        self.folded = backbone.fold_in(sparse.csr_matrix((0, n_users), dtype=np.float32))
        self.item_scales = np.zeros(0, np.float32)
        width = n_users if text_users is None else text_users.shape[1]
        self.text_scores = UserScores(np.zeros((0, width), np.float32), text_users)

    # -- cold items --

    @property
    def text_name(self) -> str:
        """Name of what ``ItemRows`` have of the text model: user scores, or vectors."""
        return "user_scores" if self.text_scores.users is None else "text_vectors"

    @property
    def numbers_per_item(self) -> int:
        """How many numbers ``rows_of`` needs at once for an item."""
        return max(self.text_scores.values.shape[1], len(self._sample))

    def rows_of(self, folded: np.ndarray, user_scores: UserScores | None = None) -> ItemRows:
        """Return what scoring cold items needs.

        Args:
            folded: folded-in vectors, float32, shape (items, width of the backbone).
            user_scores: the text model's user scores; not needed if their weight in the fusion
                is 0.
        """
        return self.scaled_rows(folded, self._item_scales_of(folded, user_scores), user_scores)

    def scaled_rows(
        self, folded: np.ndarray, item_scales: np.ndarray, user_scores: UserScores | None
    ) -> ItemRows:
        """As ``rows_of``, for items whose factor in the fusion is known, shape (items,)."""
        rows = {"folded": folded, "item_scales": item_scales}
        if self.fusion.weight > 0:
            assert user_scores is not None
            rows[self.text_name] = user_scores.values
        return rows

    def append(self, rows: ItemRows) -> None:
        """Append cold items behind the present ones, by their ``rows_of``."""
        self.folded = np.concatenate([self.folded, rows["folded"]])
        self.item_scales = np.concatenate([self.item_scales, rows["item_scales"]])
        if self.fusion.weight > 0:
            new = UserScores(rows[self.text_name], self.text_scores.users)
            self.text_scores = UserScores.concatenated([self.text_scores, new])

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

    def _item_scales_of(self, folded: np.ndarray, user_scores: UserScores | None) -> np.ndarray:
        """Return the fusion's factor of each of these items, float32, shape (items,)."""
        if self.fusion.norm_exponent == 1:
            return np.ones(len(folded), np.float32)
        first = second = folded[:, :0]  # placeholders: unused if their weight is 0
        if self.fusion.weight < 1:
            first = scores_over_users(self.backbone, folded, self._sample)
        if self.fusion.weight > 0:
            assert user_scores is not None
            second = user_scores.of(self._sample)
        return self.fusion.item_scales(first, second)

    def rows(self, positions: np.ndarray) -> ItemRows:
        """Return the rows of the cold items at these positions."""
        at: Any = positions
        if np.array_equal(positions, np.arange(len(self.folded))):
            at = slice(None)  # all of them: no copy
        texts = self.text_scores.take(at) if self.fusion.weight > 0 else None
        return self.scaled_rows(self.folded[at], self.item_scales[at], texts)

    # -- scores --

    def user_states(self, users: np.ndarray) -> HybridStates:
        """Return the states of known users, int32 row numbers."""
        vectors = self.text_scores.users
        text = users if vectors is None else vectors[users]
        return HybridStates(self.backbone.user_states(users), text, self.calibration.take(users))

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
        vectors = self.text_scores.users
        text = weights if vectors is None else weights @ vectors
        return HybridStates(states, text, self.calibration.averaged(weights))

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
            if self.text_scores.users is None:
                text = _text_scores(states.text_users, rows["user_scores"])
            else:
                text = states.text_users @ rows["text_vectors"].T
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
            "text_scores": self.text_scores.values,
            "fusion": np.array([asdict(self.fusion)[name] for name in _FUSION_FIELDS]),
            **self.calibration.state(),
        }

    @classmethod
    def restore(
        cls,
        config: BackboneConfig,
        state: dict[str, np.ndarray],
        text_users: np.ndarray | None = None,
    ) -> "HybridScorer":
        """Rebuild a scorer from ``state``; ``config`` is that of the backbone."""
        backbone = build(config).restore(unnest("backbone", state))
        fusion = ScoreFusion(**dict(zip(_FUSION_FIELDS, state["fusion"].tolist(), strict=True)))
        calibration = ColdCalibration.restore(state)
        n_users = len(calibration.user_factors)
        hybrid = cls(backbone, n_users, fusion, calibration, text_users)
        hybrid.folded, hybrid.item_scales = state["folded"], state["item_scales"]
        hybrid.text_scores = UserScores(state["text_scores"], text_users)
        return hybrid


def fit_hybrid(
    config: HybridConfig,
    backbone: Backbone,
    simulate: Callable[[np.ndarray], tuple[sparse.csr_matrix, UserScores]],
    data: Dataset,
    valid: Validation | None,
    trained: np.ndarray | None = None,
) -> tuple[HybridScorer, dict[str, Any]]:
    """Build the scorer with all cold items of the catalogue; choose constants on validation.

    Args:
        config: settings of cold-item scoring.
        backbone: the fitted backbone.
        simulate: maps row numbers of items to simulated interactions, CSR, shape (items, n_users),
            and the text model's user scores. It must treat a warm item as if it were cold.
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

    def cold_vectors(rows: np.ndarray) -> tuple[np.ndarray, UserScores]:
        warm = data.warm[rows]
        if warm.any() and not warm.all():
            sides = zip(*(cold_vectors(rows[side]) for side in (warm, ~warm)), strict=True)
            order = np.argsort(np.concatenate([np.flatnonzero(warm), np.flatnonzero(~warm)]))
            vectors, user_scores = sides
            return np.concatenate(vectors)[order], UserScores.concatenated(user_scores).take(order)
        interactions, user_scores = simulate(rows)
        if trained is None or warm.any():
            return backbone.fold_in(interactions), user_scores
        return trained[position[rows]], user_scores

    vectors, text = cold_vectors(rows)
    weight = (
        config.text_weight if config.cold_score == "both" else TEXT_WEIGHTS[config.cold_score][0]
    )
    exponent, choices = config.norm_exponent, {}
    if task is not None:
        constants = [(w, e) for w in TEXT_WEIGHTS[config.cold_score] for e in NORM_EXPONENTS]
        task, asked = _sampled_task(task, len(rows), data.n_users)
        folded = scores_over_users(backbone, vectors, asked)
        weight, exponent = choose_fusion(constants, task, rows, folded, text.of(asked), asked)
        choices = {"text_weight": weight, "norm_exponent": exponent}
    is_reference = np.isin(rows, reference)
    vectors, text = vectors[is_reference], text.take(is_reference)
    sample = sample_of_users(data.n_users)
    folded, text_scores = scores_over_users(backbone, vectors, sample), text.of(sample)
    fusion = ScoreFusion.fit(weight, exponent, folded, text_scores)
    scales = fusion.item_scales(folded, text_scores)[:, None]
    del folded, text_scores
    hybrid = HybridScorer(backbone, data.n_users, fusion, text_users=text.users)
    cold = np.flatnonzero(~data.warm)
    for block in item_blocks(len(cold), hybrid.numbers_per_item):
        hybrid.append(hybrid.rows_of(*cold_vectors(cold[block])))

    def reference_scores(users: np.ndarray) -> np.ndarray:
        first, second = scores_over_users(backbone, vectors, users), text.of(users)
        return fusion.weighted_sum(first, second) * scales

    hybrid.calibration, chosen = fit_calibration(
        config,
        backbone.score,
        lambda u, i: hybrid.score_cold(u, position[i]),
        reference_scores,
        data,
        valid,
        min_variation=min_variation(data),
    )
    return hybrid, choices | chosen


def can_score(rows: ItemRows) -> np.ndarray:
    """Return whether each item has been folded in: bool, shape (items,)."""
    # NaN does not always reach the scores: EASE scores 0 for a user without history.
    return np.asarray(np.isfinite(rows["folded"]).all(axis=1))


def scores_over_users(backbone: Backbone, folded: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Score folded-in items for users, int32 row numbers; float32, shape (items, users)."""
    return np.ascontiguousarray(backbone.score_folded(users, folded).T)


def _sampled_task(task: RankingTask, n_rows: int, n_users: int) -> tuple[RankingTask, np.ndarray]:
    """A slice and the users to score for it: all, or with very many scores a part of those asking.

    Args:
        task: the slice.
        n_rows: number of items that are scored.
        n_users: number of users.
    """
    most = _MAX_SCORES // max(n_rows, 1)
    if n_users <= most:
        return task, np.arange(n_users, dtype=np.int32)
    asked = np.unique(task.queries.users).astype(np.int32)
    kept = asked[evenly_spaced(len(asked), most)]
    return task.take(np.flatnonzero(np.isin(task.queries.users, kept))), kept


def _text_scores(users: np.ndarray | sparse.csr_matrix, user_scores: np.ndarray) -> np.ndarray:
    """Text scores of known users, or their weighted means: float32, (queries, items)."""
    if isinstance(users, np.ndarray):
        return user_scores[:, users].T
    used = np.unique(users.indices)
    return users[:, used] @ np.ascontiguousarray(user_scores[:, used].T)
