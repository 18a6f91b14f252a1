"""Selection: stacks the scores of filter and judge, and keeps each item's best users.

The probability of a shortlisted user is p = σ(a + b f + c j), with f the filter's score and j the
judge's log-odds, b ≥ 0 and c ≥ 0. The coefficients are a logistic regression on the shortlists of
cold validation items, which neither filter nor judge was trained on, so p is calibrated for new
items. Filter alone or judge alone sets the other coefficient to zero.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.special import expit

from warmstart.config import Config
from warmstart.data.interactions import MIN_WEIGHT, Interactions
from warmstart.data.tasks import RankingTask
from warmstart.train.logistic_regression import fit_logistic


class SelectConfig(Config):
    """Settings of the selection among shortlisted users.

    Attributes:
        rank_by: rank shortlisted users by "filter", "judge", or "both" stacked.
        intercept, filter_coefficient, judge_coefficient: a, b and c; fitted on validation if given.
            The defaults are not calibrated; they keep probabilities small.
        users_per_item: number of simulated users per item; chosen on validation if given. 20 is
            the number in ColdLLM's public code.
        expected_interactions: keep an item's likeliest users until their probabilities sum to this
            number; replaces ``users_per_item``. None uses ``users_per_item``.
        judge_weight: weight of the judge's log-odds, in units of the filter's score, when they are
            added to the user scores; chosen on validation if given. It is not c / b, since on
            CiteULike-a a quarter of that ranked better (docs/log.md).
    """

    rank_by: Literal["both", "judge", "filter"] = "both"
    intercept: float = -3.0
    filter_coefficient: float = 0.5
    judge_coefficient: float = 0.5
    users_per_item: int = Field(default=20, ge=1)
    expected_interactions: float | None = Field(default=None, gt=0)
    judge_weight: float = Field(default=1.0, ge=0)


@dataclass(frozen=True)
class Shortlist:
    """The filter's top K users of some items, with the scores of filter and judge.

    Attributes:
        users: row numbers, int32, shape (items, K), the filter's best user first.
        scores: the filter's scores, float32, shape (items, K).
        log_odds: the judge's log-odds, float32, shape (items, K); zeros without a judge.
    """

    users: np.ndarray
    scores: np.ndarray
    log_odds: np.ndarray

    @classmethod
    def empty(cls, k: int) -> "Shortlist":
        """Return a shortlist of k users per item that has no items."""
        return cls(np.zeros((0, k), np.int32), *np.zeros((2, 0, k), np.float32))

    @classmethod
    def without_judge(cls, users: np.ndarray, scores: np.ndarray) -> "Shortlist":
        """Return a shortlist that no judge has scored: its log-odds are zeros."""
        return cls(users, scores, np.zeros_like(scores))

    def take(self, rows: np.ndarray) -> "Shortlist":
        """Return the shortlists of the items at these positions."""
        return Shortlist(self.users[rows], self.scores[rows], self.log_odds[rows])

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays by name; ``Shortlist(**state)`` rebuilds the shortlist."""
        return {"users": self.users, "scores": self.scores, "log_odds": self.log_odds}


def probabilities(config: SelectConfig, shortlist: Shortlist) -> np.ndarray:
    """Compute the probability of every shortlisted user, float32, shape (items, K)."""
    logits = config.intercept + config.filter_coefficient * shortlist.scores
    return expit(logits + config.judge_coefficient * shortlist.log_odds).astype(np.float32)


def fit_coefficients(
    config: SelectConfig, shortlist: Shortlist, labels: np.ndarray
) -> SelectConfig:
    """Return the configuration with coefficients fitted to labels.

    Args:
        config: ``rank_by`` decides which coefficients may differ from zero.
        shortlist: shortlists of items whose true users are known.
        labels: whether each shortlisted user is a true user, bool, shape (items, K).
    """
    free = {
        "both": np.array([True, True, True]),
        "filter": np.array([True, True, False]),
        "judge": np.array([True, False, True]),
    }[config.rank_by]
    if not shortlist.log_odds.any():
        free[2] = False
    inputs = np.stack(
        [np.ones(labels.size), shortlist.scores.ravel(), shortlist.log_odds.ravel()], axis=1
    )[:, free]
    # A higher score must not lower a probability; with few labels, noise could make it do so.
    lower_bounds = np.array([None, 0.0, 0.0])[free].tolist()
    coefficients = np.zeros(3)
    coefficients[free] = fit_logistic(inputs, labels.ravel(), lower_bounds)
    intercept, filter_coefficient, judge_coefficient = coefficients.tolist()
    return config.model_copy(
        update={
            "intercept": intercept,
            "filter_coefficient": filter_coefficient,
            "judge_coefficient": judge_coefficient,
        }
    )


def labels_on(task: RankingTask, users: np.ndarray, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Label shortlisted users by a validation slice.

    Args:
        task: the validation slice.
        users: the shortlisted users of its candidates, row numbers, int32, shape (candidates, K).
        n_users: number of users.

    Returns:
        Positions of the candidates that have a true user in the slice (test items are candidates
        too, but their users are not known here), and whether each of their shortlisted users is a
        true user: bool, shape (positions, K).
    """
    pairs = task.relevance[:, task.candidates].tocoo()
    ones = np.ones(len(pairs.row), bool)
    known = sparse.csr_matrix(
        (ones, (pairs.col, task.queries.users[pairs.row])), shape=(len(task.candidates), n_users)
    )
    labelled = np.flatnonzero(known.getnnz(axis=1))
    rows = np.repeat(labelled, users.shape[1])
    return labelled, np.asarray(known[rows, users[labelled].ravel()]).reshape(len(labelled), -1)


def select(
    config: SelectConfig, shortlist: Shortlist, provenance: str, users_per_item: int | None = None
) -> Interactions:
    """Return the likeliest shortlisted users of each item as simulated interactions.

    Args:
        config: coefficients, and the number of users to keep.
        shortlist: shortlists of the items.
        provenance: name of the simulator.
        users_per_item: number of users to keep, whatever ``config`` says.

    Returns:
        Interactions whose ``items`` are rows of ``shortlist``, each item's likeliest user first.
        Weights are probabilities. Evidence: filter_score, judge_log_odds.
    """
    p = probabilities(config, shortlist)
    order = np.argsort(-p, axis=1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=1)
    if users_per_item is None and config.expected_interactions is not None:
        before = np.cumsum(ordered, axis=1) - ordered
        chosen = before < config.expected_interactions
    else:
        chosen = np.tile(
            np.arange(p.shape[1]) < (users_per_item or config.users_per_item), (len(p), 1)
        )
    rows, places = np.nonzero(chosen)
    columns = order[rows, places]
    return Interactions.from_arrays(
        shortlist.users[rows, columns],
        rows,
        weights=np.clip(p[rows, columns], MIN_WEIGHT, 1),
        provenance=provenance,
        evidence={
            "filter_score": shortlist.scores[rows, columns],
            "judge_log_odds": shortlist.log_odds[rows, columns],
        },
    )


def with_judge(judge_weight: float, shortlist: Shortlist, user_scores: np.ndarray) -> np.ndarray:
    """Add the judge's log-odds to the user scores of shortlisted users.

    Log-odds are centred per item, so they reorder the shortlist without moving it against users
    whom the judge did not score.

    Args:
        judge_weight: weight of the log-odds, in units of the user scores.
        shortlist: shortlists of the items.
        user_scores: scores of all users, float32, shape (items, n_users).

    Returns:
        float32, shape (items, n_users).
    """
    centred = shortlist.log_odds - shortlist.log_odds.mean(axis=1, keepdims=True)
    result = user_scores.copy()
    result[np.arange(len(result))[:, None], shortlist.users] += np.float32(judge_weight) * centred
    return result
