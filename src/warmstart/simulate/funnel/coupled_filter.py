"""ColdLLM's coupled filter: reduces all users to a shortlist for the judge.

    text ──LM──▶ vector ──content side────▶ scores of all users ─┐
                        ──behaviour tower─▶ scores of all users ─┴─ fused ─▶ the top K users

Each side's scores are divided by their standard deviation before they are added, with a weight
chosen on validation. (The public code adds raw dot products.) By default the content side is the
closed-form head of ``text_ridge``, which validates better than the trained tower; ``ridge=None``
trains the tower.
"""

from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field

from warmstart.backbones import Backbone
from warmstart.backbones.vectors import collaborative_vectors
from warmstart.config import Config
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.tasks import RankingTask
from warmstart.rank import TableScorer, mean_metric, top_k
from warmstart.simulate.calibration import reference_items
from warmstart.simulate.funnel.towers import (
    BehaviourTowerConfig,
    BehaviourTrainee,
    ContentTowerConfig,
    ContentTrainee,
    Tower,
    TowerTrainee,
)
from warmstart.simulate.fusion import METRIC, ScoreFusion, choose_fusion
from warmstart.simulate.ridge import RidgeConfig, RidgeHead, fit_ridge
from warmstart.storage import nest, unnest
from warmstart.train import Schedule, train_stage

# Ties on validation go to the first weight: the content side does not depend on the backbone.
_CONTENT_WEIGHTS = {
    "behaviour": (0.0,),
    "content": (1.0,),
    "both": (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
}


class FilterConfig(Config):
    """Settings of the coupled filter.

    Attributes:
        signals: which sides score users: "content" (texts), "behaviour" (the backbone's vectors),
            or "both".
        ridge: the closed-form content side; None trains the content tower, which on CiteULike-a has
            a cold ndcg@20 of .190 against .274 (both with the behaviour side, docs/results.md).
        content_tower: settings of the content tower.
        behaviour_tower: settings of the behaviour tower.
        content_weight: weight of the content side, in [0, 1], with "both"; chosen on validation if
            given.
        activity_penalty: factor on log(1 + the user's training interactions), subtracted from the
            user's score (which is in standard deviations). It counteracts activity bias: metrics
            average over users, so active users must not dominate. Off by default: .3 gave no
            significant gain on CiteULike-a (docs/results.md).
    """

    signals: Literal["both", "content", "behaviour"] = "both"
    ridge: RidgeConfig | None = Field(default_factory=RidgeConfig)
    content_tower: ContentTowerConfig = Field(default_factory=ContentTowerConfig)
    behaviour_tower: BehaviourTowerConfig = Field(default_factory=BehaviourTowerConfig)
    content_weight: float = Field(default=0.8, ge=0, le=1)
    activity_penalty: float = Field(default=0.0, ge=0)


class CoupledFilter:
    """Scores all users for a text, and shortlists the best.

    Args:
        content: the content side; None if it is not used.
        behaviour: the behaviour tower; None if it is not used.
        fusion: combines the scores of behaviour (first) and content (second).
        user_penalty: amount subtracted from each user's score, float32, shape (n_users,).
    """

    def __init__(
        self,
        content: RidgeHead | Tower | None,
        behaviour: Tower | None,
        fusion: ScoreFusion,
        user_penalty: np.ndarray,
    ) -> None:
        self.content, self.behaviour = content, behaviour
        self.fusion, self.user_penalty = fusion, user_penalty

    def user_scores(self, vectors: np.ndarray) -> np.ndarray:
        """Score all users for texts, in standard deviations; float32, shape (items, n_users)."""
        content = vectors[:, :0]
        if isinstance(self.content, RidgeHead):
            content = self.content.predict(vectors)
        elif self.content is not None:
            content = self.content.user_scores(vectors)
        return self._fused(content, vectors)

    def score_as_cold(self, vectors: np.ndarray, rows: np.ndarray, data: Dataset) -> np.ndarray:
        """As ``user_scores``, for the items at ``rows`` of the catalogue, all cold or all warm.

        For a warm item the closed-form head gives its leave-one-out prediction. A tower cannot do
        that: it was trained with the item.
        """
        if not isinstance(self.content, RidgeHead):
            return self.user_scores(vectors[rows])
        return self._fused(self.content.score_as_cold(vectors, rows, data), vectors[rows])

    def shortlist(self, user_scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return each item's top k users, best first: int32 rows and scores, shape (items, k)."""
        return top_k(np.ascontiguousarray(user_scores), min(k, user_scores.shape[1]))

    def _fused(self, content: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        behaviour = vectors[:, :0]
        if self.behaviour is not None:
            behaviour = self.behaviour.user_scores(vectors)
        return self.fusion.weighted_sum(behaviour, content) - self.user_penalty

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        fusion = self.fusion
        state = {
            "user_penalty": self.user_penalty,
            "fusion": np.array([fusion.weight, fusion.std_first, fusion.std_second]),
        }
        for name, side in (("content", self.content), ("behaviour", self.behaviour)):
            if side is not None:
                state |= nest(name, side.state())
        return state

    @classmethod
    def restore(cls, config: FilterConfig, state: dict[str, np.ndarray]) -> "CoupledFilter":
        """Rebuild a filter from ``state``."""
        content, behaviour = unnest("content", state), unnest("behaviour", state)
        weight, std_first, std_second = state["fusion"].tolist()
        head = None
        if content:
            ridge = config.ridge
            head = Tower.restore(content) if ridge is None else RidgeHead.restore(ridge, content)
        return cls(
            head,
            Tower.restore(behaviour) if behaviour else None,
            ScoreFusion(weight, 1.0, std_first, std_second),
            state["user_penalty"],
        )


def fit_filter(
    config: FilterConfig,
    backbone: Backbone,
    vectors: np.ndarray,
    data: Dataset,
    context: FitContext,
) -> tuple[CoupledFilter, dict[str, Any]]:
    """Fit the configured sides, and choose their weights on validation if given.

    Args:
        config: settings of the filter.
        backbone: the fitted backbone, teacher of the behaviour tower.
        vectors: text vectors of the catalogue, float32, shape (n_items, LM width).
        data: training interactions.
        context: validation slices, random generator and run of the fit.

    Returns:
        The filter, and the chosen settings.
    """
    choices: dict[str, Any] = {}
    warm = np.flatnonzero(data.warm)
    train, texts = data.matrix[:, warm].tocsr(), vectors[warm]
    rng = context.rng.spawn(1)[0]
    content: RidgeHead | Tower | None = None
    behaviour: Tower | None = None
    if config.signals != "behaviour" and config.ridge is not None:
        content = fit_ridge(config.ridge, vectors, data, context)
    elif config.signals != "behaviour":
        trainee = ContentTrainee(config.content_tower, train, texts, rng)
        content, epochs = _fit_tower("content-tower", trainee, vectors, data, context)
        choices["content_tower"] = {"epochs": epochs}
    if config.signals != "content":
        users, items = collaborative_vectors(backbone, data.matrix, config.behaviour_tower.width)
        teacher = (users, np.ascontiguousarray(items[warm]))
        trainee = BehaviourTrainee(config.behaviour_tower, train, texts, teacher, rng)
        behaviour, epochs = _fit_tower("behaviour-tower", trainee, vectors, data, context)
        choices["behaviour_tower"] = {"epochs": epochs}
    log_degrees = np.log1p(data.matrix.getnnz(axis=1)).astype(np.float32)
    user_penalty = np.float32(config.activity_penalty) * log_degrees
    both = config.signals == "both"
    weight = config.content_weight if both else _CONTENT_WEIGHTS[config.signals][0]
    coupled = CoupledFilter(content, behaviour, ScoreFusion(weight, 1.0), user_penalty)
    with context.run.stage("filter"):
        coupled.fusion, chosen = _fit_fusion(config, coupled, vectors, data, context)
    return coupled, choices | chosen


def _fit_fusion(
    config: FilterConfig,
    coupled: CoupledFilter,
    vectors: np.ndarray,
    data: Dataset,
    context: FitContext,
) -> tuple[ScoreFusion, dict[str, Any]]:
    """Estimate standard deviations on the reference items, the weight on cold validation items."""
    reference = rows = reference_items(data)
    task = context.task("cold")
    if task is not None:
        rows = np.union1d(reference, task.candidates)
    behaviour = content = np.zeros((len(rows), data.n_users), np.float32)
    if coupled.behaviour is not None:
        behaviour = coupled.behaviour.user_scores(vectors[rows])
    if isinstance(coupled.content, RidgeHead):
        content = coupled.content.score_as_cold(vectors, rows, data)
    elif coupled.content is not None:
        content = coupled.content.user_scores(vectors[rows])
    weight, choices = coupled.fusion.weight, {}
    if task is not None and config.signals == "both":
        constants = [(weight, 1.0) for weight in _CONTENT_WEIGHTS["both"]]
        weight, _ = choose_fusion(constants, task, rows, behaviour, content)
        choices = {"content_weight": weight}
    measured = np.isin(rows, reference)
    return ScoreFusion.fit(weight, 1.0, behaviour[measured], content[measured]), choices


def _fit_tower(
    name: str, trainee: TowerTrainee, vectors: np.ndarray, data: Dataset, context: FitContext
) -> tuple[Tower, int]:
    """Train a tower and keep the epoch with the best ndcg@20 on cold validation items."""
    validate, validated_on, task = None, None, context.task("cold")
    if task is not None:
        validated_on = task.hash
        validate = partial(_quality, trainee, vectors, task)
    seed = int(context.rng.spawn(1)[0].integers(2**63))
    result = train_stage(
        context.run,
        name,
        trainee,
        Schedule(trainee.config.epochs, 1, trainee.config.patience, f"cold {METRIC}"),
        np.random.default_rng(seed),
        depends_on=[trainee.config, data.hash, trainee.user_inputs(), vectors],
        validate=validate,
        validated_on=validated_on,
        code=__name__,
    )
    return trainee.tower(), result.best_epoch


def _quality(trainee: TowerTrainee, vectors: np.ndarray, task: RankingTask) -> float:
    """Compute ndcg@20 of the tower at its present state of training."""
    scores = trainee.tower().user_scores(vectors[task.candidates])
    return mean_metric(TableScorer(task.candidates, scores).score, task, METRIC)
