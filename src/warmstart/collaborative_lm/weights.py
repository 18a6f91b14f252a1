"""The score as a weighted sum of three inner products, whose weights validation chooses.

    backbone    state of the backbone . vector of the item
    lm          h of the language model . g of the item
    text        mean text vector of the history . text vector of the item

Each part is scaled to a mean of 0 and a standard deviation of 1 over warm items. Warm and cold
items have weights of their own: a decoded vector tells less of a cold item, its text as much as of
any other. Without the mean of 0, a part that weighs more for cold items would put all of them
before the warm ones, or behind. A part whose weight is 0 in the settings is left out, and
validation does not bring it back; it never leaves out all parts.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from warmstart.collaborative_lm.fit import score_metric
from warmstart.config import Config
from warmstart.data.tasks import RankingTask

GRID = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
_HALF_STEPS = range(-10, 7)  # factors of the weights of cold items, in halves of powers of two
_ROUNDS = 2  # of the search, one weight after the other
_ROUNDING = 1e-5  # of the size of scores


class PartWeights(Config):
    """Weights of the parts of a score.

    Attributes:
        backbone: of the aligned backbone.
        lm: of the language model.
        text: of the similarity of texts.
    """

    backbone: float = Field(default=1.0, ge=0)
    lm: float = Field(default=0.5, ge=0)
    text: float = Field(default=0.2, ge=0)


@dataclass(frozen=True)
class FittedWeights:
    """What the vectors of items are multiplied by, so that their products with users are scores.

    Attributes:
        parts: the columns of each part.
        mean: mean vector of the warm items, float32, shape (all widths,).
        scales: factors that give each part a standard deviation of one.
        of_warm: weights of the parts for items with interactions.
        of_cold: the same for items without.
    """

    parts: Mapping[str, slice]
    mean: np.ndarray
    scales: PartWeights
    of_warm: PartWeights
    of_cold: PartWeights

    def weigh(self, items: np.ndarray, warm: np.ndarray) -> np.ndarray:
        """Weigh vectors of items, float32, shape (items, all widths); ``warm``: bool, (items,)."""
        rows = weighted(items - self.mean, self.parts, self.scales)
        of_warm, of_cold = (weighted(rows, self.parts, own) for own in (self.of_warm, self.of_cold))
        return np.where(warm[:, None], of_warm, of_cold)

    @property
    def choices(self) -> dict[str, dict[str, float]]:
        """The weights of the parts in use, by the names of their settings."""
        of_both = {"warm_weights": self.of_warm, "cold_weights": self.of_cold}
        return {name: own.model_dump(include=set(self.parts)) for name, own in of_both.items()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of an artefact: scales and weights are float64, shape (3, parts)."""
        rows = self.scales, self.of_warm, self.of_cold
        return {
            "mean": self.mean,
            "weights": np.array([list(own.model_dump().values()) for own in rows]),
        }

    @classmethod
    def from_state(
        cls, state: dict[str, np.ndarray], parts: Mapping[str, slice]
    ) -> "FittedWeights":
        """Rebuild from ``state``."""
        names, rows = PartWeights.model_fields, state["weights"].tolist()
        return cls(
            parts,
            state["mean"],
            *(PartWeights(**dict(zip(names, row, strict=True))) for row in rows),
        )


def fit_weights(
    tasks: Mapping[str, RankingTask],
    users: Mapping[str, np.ndarray],
    sample: np.ndarray,
    items: np.ndarray,
    warm: np.ndarray,
    parts: Mapping[str, slice],
    start: tuple[PartWeights, PartWeights],
) -> FittedWeights:
    """Scale the parts, and choose their weights on validation if it is given.

    Args:
        tasks: validation slices, of ``validation_tasks``; may be empty.
        users: vectors of the queries of each slice, float32, shape (queries, all widths).
        sample: vectors that the parts are scaled on, of the same width; NaN rows are left out.
        items: vectors of all items, float32, shape (items, all widths).
        warm: whether each item has interactions.
        parts: the columns of each part.
        start: the weights of warm and of cold items to begin with; those of 0 stay.
    """
    known = np.isfinite(sample).all(axis=1)
    mean = items[warm].mean(axis=0)
    own_scales = PartWeights(**scales(sample[known], items[warm], parts))
    if tasks:
        scaled = weighted(items - mean, parts, own_scales)
        start = choose_weights(tasks, users, scaled, warm, parts, start)
    return FittedWeights(parts, mean, own_scales, *start)


def parts_of(widths: Mapping[str, int]) -> dict[str, slice]:
    """The columns of each part, by the widths of their vectors."""
    ends = np.cumsum(list(widths.values())).tolist()
    return {
        name: slice(end - width, end)
        for (name, width), end in zip(widths.items(), ends, strict=True)
    }


def weighted(items: np.ndarray, parts: Mapping[str, slice], weights: PartWeights) -> np.ndarray:
    """Multiply the parts of item vectors by their weights."""
    found = items.copy()
    for name, part in parts.items():
        found[:, part] *= np.float32(getattr(weights, name))
    return found


def scales(users: np.ndarray, items: np.ndarray, parts: Mapping[str, slice]) -> dict[str, float]:
    """Factors that give the scores of each part a mean standard deviation over items of one.

    A part that differs between items by rounding alone, such as that of equal texts, stays as it
    is: scaled, the rounding would outweigh all else.

    Args:
        users: vectors of users, float32, shape (users, all widths).
        items: vectors of warm items.
        parts: the columns of each part.
    """
    found = dict.fromkeys(parts, 1.0)
    for name, part in parts.items() if len(users) else ():
        scores = users[:, part] @ items[:, part].T
        spread = float(scores.std(axis=1).mean())
        if spread > _ROUNDING * float(np.abs(scores).mean()):
            found[name] = 1 / spread
    return found


def choose_weights(
    tasks: Mapping[str, RankingTask],
    users: Mapping[str, np.ndarray],
    items: np.ndarray,
    warm: np.ndarray,
    parts: Mapping[str, slice],
    start: tuple[PartWeights, PartWeights],
) -> tuple[PartWeights, PartWeights]:
    """Choose the weights of warm and of cold items.

    Those of warm items are chosen among warm items, so that badly weighted cold ones do not disturb
    the choice; those of cold items on the slice "cold", where it ranks items without interactions;
    then one factor on all three of these, on the slice "all": a few items that score too high would
    stand first in everybody's list.

    Args:
        tasks: validation slices, of ``validation_tasks``.
        users: vectors of the queries of each slice, float32, shape (queries, all widths).
        items: scaled vectors of all items.
        warm: whether each item has interactions.
        parts: the columns of each part.
        start: the weights of warm and of cold items to begin with; those of 0 stay.
    """
    of_warm, of_cold = start
    scores = {
        name: _scores_by_part(task, users[name], items, parts) for name, task in tasks.items()
    }

    def metric(name: str, of_warm: PartWeights, of_cold: PartWeights | None) -> float:
        """Without weights of cold items, these are not ranked."""
        task, own = tasks[name], scores[name]
        is_warm = warm[np.arange(len(warm)) if task.candidates.ndim == 2 else task.candidates]
        total = np.zeros_like(own["backbone"])
        for part, values in own.items():
            cold = np.nan if of_cold is None else getattr(of_cold, part)
            weight = np.where(is_warm, getattr(of_warm, part), cold)
            total += values * weight.astype(np.float32)
        return score_metric(task, total)

    others = [name for name in parts if name != "backbone" and getattr(of_warm, name)]
    side = "warm" if "warm" in tasks else "all"
    of_warm = _search(of_warm, others, parts, lambda found: metric(side, found, None))
    chosen = of_warm
    if "cold" in tasks:
        of_those = [name for name in parts if getattr(of_cold, name)]
        of_cold = _search(of_cold, of_those, parts, lambda found: metric("cold", chosen, found))
    if warm.all():
        return of_warm, of_cold
    scaled = {step: _scaled(of_cold, 2 ** (step / 2)) for step in _HALF_STEPS}
    # A tie is no reason to scale.
    best = max(scaled, key=lambda step: (metric("all", chosen, scaled[step]), -abs(step)))
    return of_warm, scaled[best]


def _scaled(weights: PartWeights, factor: float) -> PartWeights:
    return PartWeights(**{name: value * factor for name, value in weights.model_dump().items()})


def _scores_by_part(
    task: RankingTask, users: np.ndarray, items: np.ndarray, parts: Mapping[str, slice]
) -> dict[str, np.ndarray]:
    """Scores of the candidates, or of all items if each query has its own, by part."""
    rows = items if task.candidates.ndim == 2 else items[task.candidates]
    return {name: users[:, part] @ rows[:, part].T for name, part in parts.items()}


def _search(
    start: PartWeights,
    names: list[str],
    parts: Collection[str],
    metric: Callable[[PartWeights], float],
) -> PartWeights:
    """Improve one weight after the other, over a grid; a tie keeps what there was.

    At least one of the parts keeps a weight.
    """
    best, value = start, metric(start)
    for _ in range(_ROUNDS):
        for name in names:
            for weight in GRID:
                found = best.model_copy(update={name: weight})
                if found == best or not any(getattr(found, part) for part in parts):
                    continue
                if (reached := metric(found)) > value:
                    best, value = found, reached
    return best
