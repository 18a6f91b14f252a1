"""The scores of all served items: the warm items of the fit, then all others in order of arrival.

A warm item of the training data keeps the score of the fit. Every other item has two scores: a cold
score from its text, and an observed score from the users who clicked it since the fit. With c
clicks, they are combined by shrinkage:

    t        = n0 / (n0 + c)                                   n0 = prior_strength, a pseudo-count
    score_ui = t (cold_ui - penalty_i) + (1 - t) observed_ui

An item thus starts at its cold score, moves with every click and approaches its observed score; no
click makes it jump. ``penalty`` caps the exposure of an item without clicks (``exposure``). Two
cases follow from what a method can do:

- If a click tells the method nothing about other users, the observed score is the cold score:
  clicks only lift the penalty.
- If there is no cold score, the observed score counts alone, and without clicks there is none.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.servable import ItemRows, QueryStates, Servable
from warmstart.serve.engine.exposure import ExposureCap
from warmstart.serve.engine.growable import GrowableTable, borrowed


@dataclass(frozen=True)
class ColdItem:
    """A cold item to place: what scoring it needs, its penalty, and whether it has a cold score."""

    rows: ItemRows
    penalty: float
    has_score: bool


@dataclass(frozen=True)
class Observed:
    """The clicks on an item by known users: their number, and what scoring it by them needs."""

    clicks: int
    rows: ItemRows


class ScoreTable:
    """Columns of scores: the warm items of the artefact, then cold items. Its user locks it.

    Args:
        model: the served model; it is not changed.
        prior_strength: n0, the number of clicks that count as much as the cold score.
        max_exposure: fraction of users whose top 20 an item may enter before its first click.

    Attributes:
        warm: catalogue rows of the warm columns, int64.
        exposure: the cap on the exposure of cold items.
    """

    def __init__(self, model: Servable, prior_strength: float, max_exposure: float) -> None:
        self._model, self._prior_strength = model, prior_strength
        fitted = model.fitted
        self.warm, cold = np.flatnonzero(fitted.warm), np.flatnonzero(~fitted.warm)
        self._warm_items: Any = model.warm_items(self.warm)
        self.exposure = ExposureCap(model, self.warm, self._warm_items, max_exposure)
        rows, has_score = _cold_rows(model, cold)
        self._rows = GrowableTable(**rows) if rows else None
        self._cold = GrowableTable(
            slot=cold,
            has_score=has_score,
            prior_weight=np.ones(len(cold), np.float32),
            penalty=self.exposure.penalties(rows) if rows else np.zeros(len(cold), np.float32),
            observed=np.full(len(cold), -1),
        )
        no_clicks = sparse.csr_matrix((0, len(fitted.user_ids)), dtype=np.float32)
        found = model.observed_rows(no_clicks)
        self._observed_names = tuple(found)
        self._observed = GrowableTable(position=np.zeros(0, np.int64), **found)

    def __len__(self) -> int:
        """Number of columns."""
        return len(self.warm) + len(self._cold)

    @property
    def cold_slots(self) -> np.ndarray:
        """The slot of each cold item, int64."""
        return self._cold["slot"]

    @property
    def prior_weights(self) -> np.ndarray:
        """Weight t of each cold item, float32; 1 without clicks by known users."""
        return self._cold["prior_weight"]

    def slot(self, column: int) -> int:
        """The slot of the item in a column."""
        n_warm = len(self.warm)
        return int(self.warm[column] if column < n_warm else self.cold_slots[column - n_warm])

    # -- changes --

    def append(self, slot: int) -> int:
        """Append a cold item that cannot be scored yet; return its position."""
        if self._rows is not None:
            self._rows.append()
        return self._cold.append(slot=slot, prior_weight=1, observed=-1)

    def place(self, position: int, item: ColdItem) -> None:
        """Give a cold item its cold score; without one, it keeps the score that it has."""
        if item.has_score and self._rows is not None:
            self._rows.set(position, **item.rows)
            self._cold.set(position, penalty=item.penalty, has_score=True)

    def observe(self, clicks: sparse.csr_matrix, number: int) -> Observed:
        """Compute what scoring an item by its clicks, CSR, shape (1, n_users), needs.

        It is slow and changes nothing, so no lock is needed.

        Args:
            clicks: those by which it is scored.
            number: number of all its clicks by known users.
        """
        rows = {}
        if clicks.nnz and self._observed_names:
            found = self._model.observed_rows(clicks)
            rows = {name: array[0] for name, array in found.items()}
        return Observed(number, rows)

    def set_clicks(self, position: int, observed: Observed) -> None:
        """Give a cold item its observed score."""
        prior_weight = self._prior_strength / (self._prior_strength + observed.clicks)
        self._cold.set(position, prior_weight=prior_weight)
        if observed.rows:
            at = int(self._cold["observed"][position])
            if at >= 0:
                self._observed.set(at, **observed.rows)
            else:
                at = self._observed.append(position=position, **observed.rows)
                self._cold.set(position, observed=at)

    # -- scores --

    def scores(self, states: QueryStates) -> np.ndarray:
        """Scores of all columns, float32, shape (queries, columns); NaN: cannot be scored."""
        n_warm = len(self.warm)
        scores = np.empty((len(states), len(self)), np.float32)
        scores[:, :n_warm] = self._model.score_warm(states, self._warm_items)
        scores[:, n_warm:] = self._cold_scores(states)
        return scores

    def _cold_scores(self, states: QueryStates) -> np.ndarray:
        cold, weight = self._cold, self.prior_weights
        if self._rows is None:
            scores = np.zeros((len(states), len(cold)), np.float32)
        else:
            scores = self._model.score_item_rows(states, self._rows.views())
            scores -= cold["penalty"] if self._observed_names else weight * cold["penalty"]
        if len(self._observed):
            at = self._observed["position"]
            rows = {name: self._observed[name] for name in self._observed_names}
            part = np.where(cold["has_score"], weight, 0)[at]
            observed = self._model.score_observed_rows(states, rows)
            scores[:, at] = part * scores[:, at] + (1 - part) * observed
        scores[:, ~self._is_scored()] = np.nan
        return scores

    def _is_scored(self) -> np.ndarray:
        """Whether each cold item can be scored: bool, shape (cold items,)."""
        if not self._observed_names:
            return self._cold["has_score"]
        return self._cold["has_score"] | (self.prior_weights < 1)

    # -- one item --

    def is_scored(self, position: int) -> bool:
        """Whether a cold item can be scored by its text or by its clicks."""
        clicked = bool(self._observed_names) and self.prior_weights[position] < 1
        return clicked or bool(self._cold["has_score"][position])

    def click_weight(self, position: int) -> float:
        """The weight of observed clicks in the score of a cold item."""
        weight = float(1 - self.prior_weights[position])
        has_score = self._cold["has_score"][position]
        return weight if has_score or not self._observed_names else float(weight > 0)

    def penalty(self, position: int) -> float:
        """The penalty on the cold score of a cold item."""
        return float(self._cold["penalty"][position])

    def cold_scores_over_users(self, position: int, users: np.ndarray) -> np.ndarray:
        """Cold scores of one item for these users, without penalty; NaN without a cold score."""
        if self._rows is None or not self._cold["has_score"][position]:
            return np.full(len(users), np.nan, np.float32)
        rows = {name: array[position : position + 1] for name, array in self._rows.views().items()}
        return self._model.score_item_rows(self._model.user_states(users), rows)[:, 0]


def _cold_rows(model: Servable, cold: np.ndarray) -> tuple[ItemRows, np.ndarray]:
    """The rows of the cold items of the artefact, zeros without a score, and who has a score."""
    rows = {name: borrowed(array) for name, array in model.cold_rows(cold).items()}
    if not rows:
        return {}, np.zeros(len(cold), bool)
    has_score = model.can_score(rows)
    if "texts" in model.traits.reads:
        has_score = has_score & model.fitted.catalogue.has_text[cold]
    if not has_score.all():
        rows = {name: array.copy() for name, array in rows.items()}
        for array in rows.values():
            array[~has_score] = 0  # NaN would spread
    return rows, has_score
