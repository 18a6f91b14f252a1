"""Rank candidates: top-k with seeded ties, masks, and the metrics of ranked lists."""

from warmstart.rank.metrics import METRICS, Metric
from warmstart.rank.ranking import (
    BYTES_PER_PAIR,
    ListFunction,
    ListSearch,
    Progress,
    Ranking,
    masked_candidates,
    mean_metric,
    queries_at_once,
    rank_task,
)
from warmstart.rank.scorers import (
    ScoreFunction,
    Scorer,
    TableScorer,
    UserScoreFunction,
    by_user,
    of_own_candidates,
)
from warmstart.rank.selection import random_order, top_k

__all__ = [
    "BYTES_PER_PAIR",
    "METRICS",
    "ListFunction",
    "ListSearch",
    "Metric",
    "Progress",
    "Ranking",
    "ScoreFunction",
    "Scorer",
    "TableScorer",
    "UserScoreFunction",
    "by_user",
    "masked_candidates",
    "mean_metric",
    "of_own_candidates",
    "queries_at_once",
    "random_order",
    "rank_task",
    "top_k",
]
