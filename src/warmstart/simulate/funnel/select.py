"""From the shortlist to simulated interactions: stack both scores, keep the best users.

The probability of a shortlisted user is p = σ(a + b f + c j), with f the filter's score and j the
judge's log-odds: a logistic regression on the shortlists of cold validation items, so that p is
calibrated for shortlists of items that nobody has seen; b and c are not negative. Filter alone and
judge alone are the same with the other coefficient at zero.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.special import expit

from warmstart.config import Config
from warmstart.data.interactions import MIN_WEIGHT, Interactions
from warmstart.data.splits.cold import Slice
from warmstart.simulate.logistic_regression import fit_logistic


class SelectConfig(Config):
    """Settings of the selection among shortlisted users.

    Attributes:
        rank_by: "filter", "judge", or "both" stacked.
        intercept, filter_coefficient, judge_coefficient: a, b and c; fitted on validation if there
            is any. The defaults leave probabilities small.
        users_per_item: simulated users of an item; chosen on validation if there is any.
        expected_interactions: keep the likeliest users until their probabilities add up to this
            number, instead of ``users_per_item``.
        judge_weight: units of the filter's score that one unit of the judge's log-odds is worth in
            a user's own list; chosen on validation if there is any.
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
    """The filter's best users of some items, with both scores of each.

    Attributes:
        users: int32, shape (items, K), the filter's best first.
        scores: the filter's, float32, shape (items, K).
        log_odds: the judge's, likewise; zeros without a judge.
    """

    users: np.ndarray
    scores: np.ndarray
    log_odds: np.ndarray

    @classmethod
    def empty(cls, k: int) -> "Shortlist":
        """Of no items, with k users each."""
        return cls(np.zeros((0, k), np.int32), *np.zeros((2, 0, k), np.float32))

    @classmethod
    def without_judge(cls, users: np.ndarray, scores: np.ndarray) -> "Shortlist":
        """A shortlist that no judge has scored."""
        return cls(users, scores, np.zeros_like(scores))

    def at(self, rows: np.ndarray) -> "Shortlist":
        """The shortlists of some of the items."""
        return Shortlist(self.users[rows], self.scores[rows], self.log_odds[rows])

    def state(self) -> dict[str, np.ndarray]:
        """The arrays by name; ``Shortlist(**state)`` rebuilds it."""
        return {"users": self.users, "scores": self.scores, "log_odds": self.log_odds}


def probabilities(config: SelectConfig, shortlist: Shortlist) -> np.ndarray:
    """The probability of every shortlisted user, float32, shape (items, K)."""
    logits = config.intercept + config.filter_coefficient * shortlist.scores
    return expit(logits + config.judge_coefficient * shortlist.log_odds).astype(np.float32)


def fit_coefficients(
    config: SelectConfig, shortlist: Shortlist, labels: np.ndarray
) -> SelectConfig:
    """The configuration with coefficients fitted to labels.

    Args:
        config: says which coefficients may differ from zero.
        shortlist: of items whose users are known.
        labels: bool, shape (items, K).
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
    # A yes of the judge never counts against a user: a negative coefficient is noise of few labels.
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


def labels_on(task: Slice, users: np.ndarray, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of shortlisted users, from a validation slice.

    Args:
        task: the slice.
        users: shortlisted for its candidates, rows, int32, shape (candidates, K).
        n_users: of the data.

    Returns:
        Positions of the candidates with at least one known user (test items are candidates too,
        and none of their users is known here), and whether each of their shortlisted users is a
        true one: bool, shape (positions, K).
    """
    pairs = task.relevance[:, task.candidates].tocoo()
    ones = np.ones(len(pairs.row), bool)
    known = sparse.csr_matrix(
        (ones, (pairs.col, task.users[pairs.row])), shape=(len(task.candidates), n_users)
    )
    labelled = np.flatnonzero(known.getnnz(axis=1))
    rows = np.repeat(labelled, users.shape[1])
    return labelled, np.asarray(known[rows, users[labelled].ravel()]).reshape(len(labelled), -1)


def select(
    config: SelectConfig, shortlist: Shortlist, provenance: str, users_per_item: int | None = None
) -> Interactions:
    """The likeliest shortlisted users of each item, as simulated interactions.

    Args:
        config: coefficients, and how many users to keep.
        shortlist: of the items.
        provenance: name of the simulator.
        users_per_item: overrides what the configuration says.

    Returns:
        Interactions whose ``items`` are rows of ``shortlist``, the likeliest user first. A weight
        is the probability; evidence: filter_score, judge_log_odds.
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
    return Interactions.of(
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
    """User scores with the judge's log-odds added.

    Log-odds are centred per item, so they reorder the shortlist without moving it against users
    whom the judge never scored.

    Args:
        judge_weight: units of the user scores that one unit of log-odds is worth.
        shortlist: of the items.
        user_scores: of all users, float32, shape (items, n_users).

    Returns:
        As ``user_scores``.
    """
    centred = shortlist.log_odds - shortlist.log_odds.mean(axis=1, keepdims=True)
    result = user_scores.copy()
    result[np.arange(len(result))[:, None], shortlist.users] += np.float32(judge_weight) * centred
    return result
