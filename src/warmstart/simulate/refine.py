"""From candidates to simulated interactions: filter and judge weighed, the best kept.

The chance of a candidate is p = σ(a + b f + c j), with f the filter's score and j the judge's
log-odds: a logistic regression on the candidates of cold validation items, so p is calibrated for
candidates of items that nobody has seen; b and c are not negative. Judge alone and filter alone are
the same with one coefficient at zero.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.special import expit

from warmstart.config import Config
from warmstart.data.interactions import Interactions
from warmstart.data.split import Slice
from warmstart.simulate.logistic import logistic

_SMALLEST = np.float32(1e-6)  # a weight must be positive for the pair to be an interaction at all


class RefineConfig(Config):
    """Settings of the refinement.

    Attributes:
        rank_by: "mixture" of both, "judge" or "filter" alone.
        intercept, filter, judge: a, b and c; fitted on validation where there is one.
        keep: users an item; chosen on validation where there is one.
        budget: instead of ``keep``: keep the likeliest until their chances add up to this many
            expected interactions.
        word: in a candidate's own list, how many units of the filter's score one unit of the
            judge's log-odds is worth; chosen on validation where there is one.
    """

    rank_by: Literal["mixture", "judge", "filter"] = "mixture"
    intercept: float = -3.0
    filter: float = 0.5
    judge: float = 0.5
    keep: int = Field(default=20, ge=1)
    budget: float | None = Field(default=None, gt=0)
    word: float = Field(default=1.0, ge=0)


@dataclass(frozen=True)
class Candidates:
    """The filter's best users of some items, with what is known of each.

    Attributes:
        users: int32, shape (items, K), the filter's best first.
        scores: f, float32, shape (items, K).
        log_odds: j, likewise; zeros without a judge.
    """

    users: np.ndarray
    scores: np.ndarray
    log_odds: np.ndarray

    @classmethod
    def none(cls, k: int) -> "Candidates":
        """Of no item, k users each."""
        return cls(np.zeros((0, k), np.int32), *np.zeros((2, 0, k), np.float32))

    def at(self, rows: np.ndarray) -> "Candidates":
        """Those of some of the items."""
        return Candidates(self.users[rows], self.scores[rows], self.log_odds[rows])


def chances(config: RefineConfig, candidates: Candidates) -> np.ndarray:
    """The p of every candidate, float32, shape (items, K)."""
    logits = config.intercept + config.filter * candidates.scores
    return expit(logits + config.judge * candidates.log_odds).astype(np.float32)


def calibrated(config: RefineConfig, candidates: Candidates, truth: np.ndarray) -> RefineConfig:
    """The configuration with coefficients fitted to known answers.

    Args:
        config: says which coefficients may differ from zero.
        candidates: of items whose users are known.
        truth: bool, shape (items, K).
    """
    free = {
        "mixture": np.array([True, True, True]),
        "filter": np.array([True, True, False]),
        "judge": np.array([True, False, True]),
    }[config.rank_by]
    if not candidates.log_odds.any():
        free[2] = False
    inputs = np.stack(
        [np.ones(truth.size), candidates.scores.ravel(), candidates.log_odds.ravel()], axis=1
    )[:, free]
    # A judge's yes never counts against a user: a negative coefficient is noise of few answers.
    at_least = np.array([None, 0.0, 0.0])[free].tolist()
    found = np.zeros(3)
    found[free] = logistic(inputs, truth.ravel(), at_least)
    intercept, scores, log_odds = found.tolist()
    return config.model_copy(update={"intercept": intercept, "filter": scores, "judge": log_odds})


def answers(task: Slice, users: np.ndarray, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """What a validation slice knows of the users that were named for its candidates.

    Args:
        task: the slice.
        users: rows, int32, shape (candidates, K).
        n_users: of the data.

    Returns:
        Places of the candidates of which at least one user is known (the test items are candidates
        too, and of them nothing is known), and whether each named user is one of theirs: bool,
        shape (places, K).
    """
    pairs = task.relevance[:, task.candidates].tocoo()
    ones = np.ones(len(pairs.row), bool)
    known = sparse.csr_matrix(
        (ones, (pairs.col, task.users[pairs.row])), shape=(len(task.candidates), n_users)
    )
    asked = np.flatnonzero(known.getnnz(axis=1))
    rows = np.repeat(asked, users.shape[1])
    return asked, np.asarray(known[rows, users[asked].ravel()]).reshape(len(asked), -1)


def kept(
    config: RefineConfig, candidates: Candidates, provenance: str, keep: int | None = None
) -> Interactions:
    """The likeliest candidates of each item, as simulated interactions.

    Args:
        config: coefficients, and how many.
        candidates: of the items.
        provenance: name of the simulator.
        keep: so many an item, whatever the configuration says.

    Returns:
        ``items`` are rows of ``candidates``, the likeliest user first; a weight is the chance;
        evidence: filter_score, judge_log_odds.
    """
    p = chances(config, candidates)
    order = np.argsort(-p, axis=1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=1)
    if keep is None and config.budget is not None:
        before = np.cumsum(ordered, axis=1) - ordered
        chosen = before < config.budget
    else:
        chosen = np.tile(np.arange(p.shape[1]) < (keep or config.keep), (len(p), 1))
    rows, places = np.nonzero(chosen)
    columns = order[rows, places]
    return Interactions.of(
        candidates.users[rows, columns],
        rows,
        weights=np.clip(p[rows, columns], _SMALLEST, 1),
        provenance=provenance,
        evidence={
            "filter_score": candidates.scores[rows, columns],
            "judge_log_odds": candidates.log_odds[rows, columns],
        },
    )


def spoken(word: float, candidates: Candidates, affinities: np.ndarray) -> np.ndarray:
    """Affinities with the judge's word in them.

    On average over an item's candidates it says nothing, so that they keep their place among the
    users who were not asked about.

    Args:
        word: units of the affinities that one unit of log-odds is worth.
        candidates: of the items.
        affinities: to all users, float32, shape (items, n_users).

    Returns:
        As ``affinities``.
    """
    said = candidates.log_odds - candidates.log_odds.mean(axis=1, keepdims=True)
    found = affinities.copy()
    found[np.arange(len(found))[:, None], candidates.users] += np.float32(word) * said
    return found
