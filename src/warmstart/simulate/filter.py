"""ColdLLM's coupled filter: from all users to the few that a judge can read.

    text ──LM──▶ vector ──content side───▶ scores of all users ─┐
                        ──behaviour tower─▶ scores of all users ─┴─ weighted sum ─▶ the K best

The scores are divided by their spreads before they are summed, with a weight chosen on validation.
(The public code sums raw dots.) The content side is by default the closed-form head of
``text_ridge``, which validates better than the trained tower; ``ridge=None`` trains the tower.
"""

import hashlib
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field

from warmstart.backbones import Backbone
from warmstart.config import Config
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.split import Slice
from warmstart.rank import mean_metric, top_k
from warmstart.simulate.blend import METRIC, Blend, choose_blend
from warmstart.simulate.distribution import under
from warmstart.simulate.ridge import RidgeConfig, TextRidge, fit_ridge
from warmstart.simulate.scale import reference_items
from warmstart.simulate.towers import (
    BehaviourConfig,
    BehaviourTrainee,
    ContentConfig,
    ContentTrainee,
    Tower,
    TowerTrainee,
)
from warmstart.simulate.warmed import collaborative_vectors
from warmstart.train import Schedule, run_epochs

# Of shares that validate alike the first is taken: the content side does not hang on a backbone.
_SHARES = {
    "behaviour": (0.0,),
    "content": (1.0,),
    "both": (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
}


class FilterConfig(Config):
    """Settings of the coupled filter.

    Attributes:
        sides: "both", or one of them alone.
        ridge: the content side in closed form; None trains the content tower.
        content: the content tower.
        behaviour: the behaviour tower.
        share: weight of the content side, in [0, 1]; with "both" chosen on validation.
        degree_power: a user's score is lowered by so much times the log of the user's degree, in
            units of the spread: busy users are likelier, but a mean over users cares for all alike.
    """

    sides: Literal["both", "content", "behaviour"] = "both"
    ridge: RidgeConfig | None = Field(default_factory=RidgeConfig)
    content: ContentConfig = Field(default_factory=ContentConfig)
    behaviour: BehaviourConfig = Field(default_factory=BehaviourConfig)
    share: float = Field(default=0.8, ge=0, le=1)
    degree_power: float = Field(default=0.0, ge=0)


class CoupledFilter:
    """Scores of all users for a text.

    Args:
        content: the content side; None where it is not used.
        behaviour: the behaviour tower; None where it is not used.
        blend: of both; its first source is behaviour, its second content.
        correction: taken off each user's score, float32, shape (n_users,).
    """

    def __init__(
        self,
        content: TextRidge | Tower | None,
        behaviour: Tower | None,
        blend: Blend,
        correction: np.ndarray,
    ) -> None:
        self.content, self.behaviour = content, behaviour
        self.blend, self.correction = blend, correction

    def affinities(self, vectors: np.ndarray) -> np.ndarray:
        """Scores of all users for texts, in units of their spread; float32, (items, n_users)."""
        content = vectors[:, :0]
        if isinstance(self.content, TextRidge):
            content = self.content.predict(vectors)
        elif self.content is not None:
            content = self.content.affinities(vectors)
        return self._summed(content, vectors)

    def as_if_new(self, vectors: np.ndarray, rows: np.ndarray, data: Dataset) -> np.ndarray:
        """As ``affinities``, of items of the catalogue, all cold or all warm.

        A warm item is left out of the closed-form head; the towers have seen it.
        """
        if not isinstance(self.content, TextRidge):
            return self.affinities(vectors[rows])
        return self._summed(self.content.as_if_new(vectors, rows, data), vectors[rows])

    def candidates(self, affinities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best users of each item, best first: int32 and their scores, (items, k)."""
        return top_k(np.ascontiguousarray(affinities), min(k, affinities.shape[1]))

    def _summed(self, content: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        behaviour = vectors[:, :0]
        if self.behaviour is not None:
            behaviour = self.behaviour.affinities(vectors)
        return self.blend.raw(behaviour, content) - self.correction

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for the artefact."""
        state = {
            "correction": self.correction,
            "blend": np.array(
                [self.blend.share, self.blend.folded_spread, self.blend.direct_spread]
            ),
        }
        for name, side in (("content", self.content), ("behaviour", self.behaviour)):
            if side is not None:
                state |= {f"{name}.{key}": array for key, array in side.state().items()}
        return state

    @classmethod
    def restore(cls, config: FilterConfig, state: dict[str, np.ndarray]) -> "CoupledFilter":
        """The filter that gave ``state``."""
        content, behaviour = under("content.", state), under("behaviour.", state)
        share, folded, direct = state["blend"].tolist()
        head = None
        if content:
            ridge = config.ridge
            head = Tower.restore(content) if ridge is None else TextRidge.restore(ridge, content)
        return cls(
            head,
            Tower.restore(behaviour) if behaviour else None,
            Blend(share, 1.0, folded, direct),
            state["correction"],
        )


def fit_filter(
    config: FilterConfig,
    backbone: Backbone,
    vectors: np.ndarray,
    data: Dataset,
    context: FitContext,
) -> tuple[CoupledFilter, dict[str, Any]]:
    """Train both sides, and weigh them on validation where there is one.

    Args:
        config: settings.
        backbone: fitted; the teacher of the behaviour tower.
        vectors: text vectors of the catalogue, float32, shape (n_items, LM width).
        data: training interactions.
        context: the run.

    Returns:
        The filter, and what was chosen.
    """
    choices: dict[str, Any] = {}
    warm = np.flatnonzero(data.warm)
    train, texts = data.matrix[:, warm].tocsr(), vectors[warm]
    rng = context.rng.spawn(1)[0]
    content: TextRidge | Tower | None = None
    behaviour: Tower | None = None
    if config.sides != "behaviour" and config.ridge is not None:
        content = fit_ridge(config.ridge, vectors, data, context)
    elif config.sides != "behaviour":
        trainee = ContentTrainee(config.content, train, texts, rng)
        content, epochs = _fit_tower("content-tower", trainee, vectors, data, context)
        choices["content"] = {"epochs": epochs}
    if config.sides != "content":
        users, items = collaborative_vectors(backbone, data.matrix, config.behaviour.width)
        teacher = (users, np.ascontiguousarray(items[warm]))
        trainee = BehaviourTrainee(config.behaviour, train, texts, teacher, rng)
        behaviour, epochs = _fit_tower("behaviour-tower", trainee, vectors, data, context)
        choices["behaviour"] = {"epochs": epochs}
    degrees = np.log1p(data.matrix.getnnz(axis=1)).astype(np.float32)
    correction = np.float32(config.degree_power) * degrees
    share = config.share if config.sides == "both" else _SHARES[config.sides][0]
    found = CoupledFilter(content, behaviour, Blend(share, 1.0), correction)
    with context.run.stage("filter"):
        found.blend, chosen = _weighed(config, found, vectors, data, context)
    return found, choices | chosen


def _weighed(
    config: FilterConfig,
    found: CoupledFilter,
    vectors: np.ndarray,
    data: Dataset,
    context: FitContext,
) -> tuple[Blend, dict[str, Any]]:
    """The blend: spreads on the reference items, its share on the cold validation slice."""
    reference = rows = reference_items(data)
    if context.valid is not None:
        rows = np.union1d(reference, context.valid["cold"].candidates)
    behaviour = content = np.zeros((len(rows), data.n_users), np.float32)
    if found.behaviour is not None:
        behaviour = found.behaviour.affinities(vectors[rows])
    if isinstance(found.content, TextRidge):
        content = found.content.as_if_new(vectors, rows, data)
    elif found.content is not None:
        content = found.content.affinities(vectors[rows])
    share, choices = found.blend.share, {}
    if context.valid is not None and config.sides == "both":
        pairs = [(share, 1.0) for share in _SHARES["both"]]
        share, _ = choose_blend(pairs, context.valid["cold"], rows, behaviour, content)
        choices = {"share": share}
    measured = np.isin(rows, reference)
    return Blend.of(share, 1.0, behaviour[measured], content[measured]), choices


def _fit_tower(
    name: str, trainee: TowerTrainee, vectors: np.ndarray, data: Dataset, context: FitContext
) -> tuple[Tower, int]:
    """Train a tower; the epoch that ranks cold validation items best is kept."""
    validate, validated = None, "not"
    rng = context.rng.spawn(1)[0]
    if context.valid is not None:
        validated = context.valid["cold"].hash
        validate = partial(_validated, trainee, vectors, context.valid["cold"])
    seed = int(rng.integers(2**63))
    parts = f"{trainee.config.model_dump_json()} {data.hash} {seed} {validated}".encode()
    key = hashlib.sha256(parts + trainee.user_inputs().tobytes() + vectors.tobytes()).hexdigest()
    with context.run.stage(name, key) as folder:
        outcome = run_epochs(
            trainee,
            Schedule(trainee.config.epochs, 1, trainee.config.patience, f"cold {METRIC}"),
            np.random.default_rng(seed),
            validate=validate,
            folder=folder,
            settings=key,
        )
    return trainee.tower(), outcome.epochs


def _validated(trainee: TowerTrainee, vectors: np.ndarray, task: Slice) -> float:
    """ndcg@20 of the tower as it stands."""
    scores = trainee.tower().affinities(vectors[task.candidates])
    place = lambda items: np.searchsorted(task.candidates, items)  # noqa: E731
    return mean_metric(lambda u, i: scores[place(i)][:, u].T, task, METRIC)
