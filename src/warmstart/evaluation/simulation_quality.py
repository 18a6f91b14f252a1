"""Quality of simulated interactions, measured directly and not through a backbone.

Precision alone misleads: a simulator that names heavy users has more hits and still loses
downstream, because ranking metrics average over users equally. So the report adds user-macro recall
and the mean degree of the named users, and three controls that name the same number of users for
every item without using the item.
"""

from dataclasses import dataclass

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.errors import DataError
from warmstart.evaluation.labels import expected_calibration_error

# Ranges of the true audience size, as in the analysis of the published pairs.
_AUDIENCE_SIZES = ((1, 5), (6, 10), (11, 20), (21, None))
_PAIRS_AT_ONCE = 2**22


@dataclass(frozen=True)
class AudienceStratum:
    """Items with a true audience of ``low`` to ``high`` users.

    Attributes:
        low: smallest audience size.
        high: largest audience size; None if there is no upper bound.
        items: number of items.
        pairs: number of simulated pairs with these items.
        precision: fraction of the pairs that are true; None without pairs.
    """

    low: int
    high: int | None
    items: int
    pairs: int
    precision: float | None


@dataclass(frozen=True)
class SimulationQuality:
    """Simulated pairs of cold items compared with the true pairs.

    Attributes:
        name: the provenance of the simulated pairs, or the name of a control.
        pairs: number of distinct simulated pairs.
        repeated: number of repeats among the simulated pairs, which are left out.
        items: number of items with at least one simulated pair.
        hits: number of simulated pairs that are true.
        precision: hits / pairs.
        recall: hits / true pairs.
        user_recall: fraction of a user's true pairs that is simulated, averaged over the users with
            a true pair.
        user_degree: training degree of the user, averaged over the simulated pairs.
        user_share: fraction of all users that occur in a simulated pair.
        calibration_error: expected calibration error of the given probabilities, over bins of
            equal width; None if none are given.
    """

    name: str
    pairs: int
    repeated: int
    items: int
    hits: int
    precision: float
    recall: float
    user_recall: float
    user_degree: float
    user_share: float
    calibration_error: float | None


@dataclass(frozen=True)
class SimulationReport:
    """Quality of a simulator and of its controls.

    Attributes:
        simulated: quality of the simulator.
        controls: quality of "most_active", "by_degree" and "random" users, as many per item as the
            simulator names.
        by_audience: precision of the simulator by true audience size of the item.
        true_user_degree: training degree of the user, averaged over the true pairs.
        base_rate: fraction of all (user, item) pairs of these items that are true.
    """

    simulated: SimulationQuality
    controls: tuple[SimulationQuality, ...]
    by_audience: tuple[AudienceStratum, ...]
    true_user_degree: float
    base_rate: float


def simulation_quality(
    simulated: Interactions,
    truth: Interactions,
    train: Dataset,
    *,
    probabilities: np.ndarray | None = None,
    seed: int = 0,
) -> SimulationReport:
    """Compare simulated interactions with the held-out ones.

    Args:
        simulated: pairs of cold items.
        truth: all held-out pairs of the items that the simulator was applied to; for a split,
            usually ``concatenate([split.cold_valid, split.cold_test])``.
        train: the training data; provides the degrees of users.
        probabilities: float, shape (len(simulated),): the simulator's probability of each pair, in
            [0, 1]. Pass the weights only if they are meant as probabilities.
        seed: random seed of the drawn controls.

    Raises:
        DataError: there are no simulated or no true pairs, an item has training interactions, or
            probabilities have a wrong shape or range.
    """
    _check(simulated, truth, train, probabilities)
    degrees = np.bincount(train.interactions.users, minlength=train.n_users)
    keys, first = np.unique(_keys(simulated, train), return_index=True)
    if probabilities is not None:
        probabilities = np.asarray(probabilities, np.float64)[first]
    true = np.unique(_keys(truth, train))
    measure = _Measure(true, degrees, train.n_items)
    items, budget = np.unique(keys % train.n_items, return_counts=True)
    blind = blind_audiences(items, budget, train, np.random.default_rng(seed))
    n_pairs = len(np.union1d(items, true % train.n_items)) * train.n_users
    return SimulationReport(
        simulated=measure(
            "+".join(simulated.sources), keys, len(simulated) - len(keys), probabilities
        ),
        controls=tuple(measure(name, _keys(events, train)) for name, events in blind.items()),
        by_audience=_by_audience(keys, true, train.n_items),
        true_user_degree=float(degrees[true // train.n_items].mean()),
        base_rate=len(true) / n_pairs,
    )


def blind_audiences(
    items: np.ndarray, budget: np.ndarray, train: Dataset, rng: np.random.Generator
) -> dict[str, Interactions]:
    """Draw the controls: users for items, chosen without using the item.

    Args:
        items: item rows, shape (items,).
        budget: number of users of each item, int64, shape (items,).
        train: the training data; provides the degrees of users.
        rng: random generator for "by_degree" and "random".

    Returns:
        "most_active": the same most active users for every item; "by_degree": users drawn in
        proportion to their training degree; "random": users drawn uniformly. The users of an item
        are distinct.
    """
    degrees = np.bincount(train.interactions.users, minlength=train.n_users)
    pairs = {
        "most_active": _most_active(items, budget, degrees, train.n_items),
        "by_degree": _drawn(items, budget, degrees, train.n_items, rng),
        "random": _drawn(items, budget, np.ones_like(degrees), train.n_items, rng),
    }
    return {
        name: Interactions.from_arrays(keys // train.n_items, keys % train.n_items, provenance=name)
        for name, keys in pairs.items()
    }


class _Measure:
    """Computes the quality of distinct pairs, given as keys user * n_items + item."""

    def __init__(self, true: np.ndarray, degrees: np.ndarray, n_items: int) -> None:
        self.true = true
        self.degrees = degrees
        self.n_items = n_items
        self.relevant = np.bincount(true // n_items, minlength=len(degrees))

    def __call__(
        self,
        name: str,
        keys: np.ndarray,
        repeated: int = 0,
        probabilities: np.ndarray | None = None,
    ) -> SimulationQuality:
        hit = np.isin(keys, self.true)
        users = keys // self.n_items
        found = np.bincount(users[hit], minlength=len(self.degrees))
        has_truth = self.relevant > 0
        error = None
        if probabilities is not None:
            error = expected_calibration_error(hit, probabilities, bins="width")
        return SimulationQuality(
            name=name,
            pairs=len(keys),
            repeated=repeated,
            items=len(np.unique(keys % self.n_items)),
            hits=int(hit.sum()),
            precision=float(hit.mean()),
            recall=float(hit.sum() / len(self.true)),
            user_recall=float((found[has_truth] / self.relevant[has_truth]).mean()),
            user_degree=float(self.degrees[users].mean()),
            user_share=len(np.unique(users)) / len(self.degrees),
            calibration_error=error,
        )


def _most_active(
    items: np.ndarray, budget: np.ndarray, degrees: np.ndarray, n_items: int
) -> np.ndarray:
    """Pick the same most active users for every item; return keys."""
    order = np.argsort(-degrees, kind="stable")
    place = np.arange(budget.sum()) - np.repeat(np.cumsum(budget) - budget, budget)
    return order[place] * n_items + np.repeat(items, budget)


def _drawn(
    items: np.ndarray,
    budget: np.ndarray,
    weights: np.ndarray,
    n_items: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw distinct users of every item in proportion to their weight; return keys.

    The users with the smallest exponential arrival times, with the weights as rates, are a draw
    without replacement (Efraimidis and Spirakis 2006). Users of weight 0 come last.
    """
    n_users, width = len(weights), int(budget.max())
    rates = np.maximum(weights, 1e-12)
    step = max(1, _PAIRS_AT_ONCE // n_users)
    keys = []
    for start in range(0, len(items), step):
        rows = slice(start, start + step)
        arrival = rng.standard_exponential((len(items[rows]), n_users)) / rates
        users = np.argpartition(arrival, width - 1, axis=1)[:, :width]
        earliest = np.argsort(np.take_along_axis(arrival, users, axis=1), axis=1)
        users = np.take_along_axis(users, earliest, axis=1)
        within_budget = np.arange(width) < budget[rows, None]
        keys.append((users * n_items + items[rows, None])[within_budget])
    return np.concatenate(keys)


def _by_audience(keys: np.ndarray, true: np.ndarray, n_items: int) -> tuple[AudienceStratum, ...]:
    items = keys % n_items
    audience = np.bincount(true % n_items, minlength=n_items)
    hit = np.isin(keys, true)
    strata = []
    for low, high in _AUDIENCE_SIZES:
        inside = (audience >= low) & (audience <= (high or n_items * len(true)))
        pairs = inside[items]
        precision = float(hit[pairs].mean()) if pairs.any() else None
        strata.append(AudienceStratum(low, high, int(inside.sum()), int(pairs.sum()), precision))
    return tuple(strata)


def _keys(events: Interactions, train: Dataset) -> np.ndarray:
    return events.users.astype(np.int64) * train.n_items + events.items


def _check(
    simulated: Interactions,
    truth: Interactions,
    train: Dataset,
    probabilities: np.ndarray | None,
) -> None:
    if len(simulated) == 0 or len(truth) == 0:
        raise DataError(
            f"simulation quality needs simulated and true pairs, got {len(simulated)} and "
            f"{len(truth)}"
        )
    for what, events in (("simulated", simulated), ("true", truth)):
        warm = int(train.warm[events.items].sum())
        if warm:
            raise DataError(
                f"simulation quality needs cold items, but {warm} {what} pair(s) have an item "
                "with training interactions"
            )
    if probabilities is None:
        return
    if np.shape(probabilities) != (len(simulated),):
        raise DataError(
            f"probabilities must have shape ({len(simulated)},), got {np.shape(probabilities)}"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise DataError(
            "probabilities must be between 0 and 1, got "
            f"{np.min(probabilities)} to {np.max(probabilities)}"
        )
