"""The result of one slice: values of units, facts about the task, and diagnostics."""

from dataclasses import dataclass, field

import numpy as np

from warmstart.evaluation.significance import Interval
from warmstart.evaluation.strata import Exposure, ItemStratum, UserStratum


@dataclass(frozen=True)
class SliceFacts:
    """Size and completeness of the answers to one task.

    Attributes:
        users: number of units: users or, where a protocol says so, dialogues.
        user_share: units as a fraction of all users of the data set.
        answered: fraction of the queries whose list has at least one item.
        candidates: number of items ranked for each query; 0 for labels.
        pairs: number of relevant pairs; for labels, of predicted pairs.
        masked_pairs: number of pairs with a candidate that the mask excludes.
        scored: fraction of the unmasked pairs that the method scores (not NaN).
        short_lists: number of queries with fewer than k rankable candidates; they count in every
            mean.
        tie_share: fraction of queries with equal scores within the first k + 1 ranks.
        k: length of the lists; 0 for labels.
        queries: number of queries.
    """

    users: int
    user_share: float
    answered: float
    candidates: int
    pairs: int
    masked_pairs: int
    scored: float
    short_lists: int
    tie_share: float
    k: int
    queries: int = 0

    @property
    def few_candidates(self) -> bool:
        """Whether a random list holds more than half of the candidates, so metrics say little."""
        return 0 < self.candidates < 2 * self.k


@dataclass(frozen=True)
class SliceResult:
    """Result of one slice: metric values of each unit, and diagnostics of the means.

    A unit is what intervals and tests resample: a user or, where queries of several users are not
    independent, a group such as a dialogue. The value of a unit is the mean over its queries.

    Attributes:
        name: "cold", "warm", "overall", "all"; or "overall_any", "overall_both" for the user set
            that the protocol's overall does not use.
        users: int32 row numbers of the users, or of the groups, shape (units,).
        n_relevant: relevant items of each unit, int64, shape (units,); for labels, its pairs.
        values: metric name -> float64, shape (units,).
        unit_weights: weights of the units in the mean of a metric, float64, shape (units,); 1 for
            every unit if a metric is missing.
        statistics: metrics that are no means over units, such as the AUC over all pairs, with
            their bootstrap intervals over users.
        facts: size and completeness of the answers.
        exposure: which items the lists show; None for labels.
        user_strata: metrics by training degree of the user.
        item_strata: hits by audience size of the item.
    """

    name: str
    users: np.ndarray
    n_relevant: np.ndarray
    values: dict[str, np.ndarray]
    facts: SliceFacts
    exposure: Exposure | None
    user_strata: tuple[UserStratum, ...]
    item_strata: tuple[ItemStratum, ...]
    unit_weights: dict[str, np.ndarray] = field(default_factory=dict)
    statistics: dict[str, Interval] = field(default_factory=dict)

    def weights(self, metric: str) -> np.ndarray:
        """Each unit's weight in the mean of a metric, float64, shape (units,)."""
        return self.unit_weights.get(metric, np.ones(len(self.users)))

    def mean(self, metric: str) -> float:
        """Unrounded mean of a metric, weighted by ``weights``; or the statistic of that name."""
        if metric in self.statistics:
            return self.statistics[metric].value
        return float(np.average(self.values[metric], weights=self.weights(metric)))
