"""Logistic regression on rate statistics: the rival that stands in every table of click models.

The log-odds of a pair are a linear function of the log-odds of the item's rate and of the
departures of the user's history (see ``rates``): over all of it, over its newest events, and over
the attributes of the item. More of each means more likes, so no coefficient is negative.

A training row is described by the item's rate without the row's own label and by the history before
it, as a new pair would be. With the own label in the rate, rare items would look predictable.

The item's rate counts all training pairs, also later ones than the row: like the training pairs
themselves, they end where the training part of a split ends.
"""

from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.special import logit

from warmstart.backbones.base import required_arrays, shape_of
from warmstart.backbones.click.base import ClickModel, Validate
from warmstart.backbones.click.data import ClickData, HistoryRanges
from warmstart.backbones.click.rates import ItemRates, affinity, departure
from warmstart.config import Config
from warmstart.train.logistic_regression import fit_logistic

_CONSTANT = 10.0  # a large input, so that the penalty hardly shrinks the intercept of rare labels


class LogisticCtrConfig(Config):
    """Settings of the logistic regression.

    Attributes:
        shrinkage: weight of the prior of an item's rate, and of an average history, in events.
        newest: number of events that count as the newest of a history.
        attribute_shrinkage: events that are added per attribute to an affinity; None leaves the
            affinity out. Data without attributes have none.
    """

    kind: Literal["logistic_ctr"] = "logistic_ctr"
    shrinkage: float = Field(default=5.0, gt=0)
    newest: int = Field(default=10, ge=1)
    attribute_shrinkage: float | None = Field(default=10.0, gt=0)


class RateRegression:
    """The fitted regression; also the start of the networks, which learn what it leaves.

    Attributes:
        config: the settings.
        rates: the rates of the items.
        attributes: CSR, shape (n_items, values), for the affinity; or None.
        coefficients: float64, the intercept first, then one per input.
    """

    def __init__(
        self,
        config: LogisticCtrConfig,
        rates: ItemRates,
        attributes: sparse.csr_matrix | None,
        coefficients: np.ndarray,
    ) -> None:
        self.config, self.rates, self.attributes = config, rates, attributes
        self.coefficients = coefficients

    @classmethod
    def fit(
        cls, config: LogisticCtrConfig, pairs: ClickData
    ) -> tuple["RateRegression", np.ndarray]:
        """Fit the coefficients.

        Returns:
            The regression, and the log-odds of the training pairs, each without its own label:
            float64, shape (pairs,).
        """
        rates = ItemRates.of_pairs(pairs, config.shrinkage)
        attributes = None if config.attribute_shrinkage is None else pairs.attributes
        found = cls(config, rates, attributes, np.zeros(1))
        inputs = found._inputs(
            rates.without(pairs.items, pairs.labels), pairs.items, pairs.histories
        )
        mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
        deviation[deviation == 0] = 1
        constant = np.full(len(pairs), _CONSTANT)
        scaled = np.column_stack([constant, (inputs - mean) / deviation])
        bounds = [None, *(0.0,) * inputs.shape[1]]
        first, *slopes = fit_logistic(scaled, pairs.labels, bounds)
        slopes = np.array(slopes) / deviation
        found.coefficients = np.array([_CONSTANT * first - slopes @ mean, *slopes])
        return found, found._combine(inputs)

    def logits(self, items: np.ndarray, histories: HistoryRanges) -> np.ndarray:
        """Compute the log-odds of pairs that were not in training: float64, shape (pairs,)."""
        return self._combine(self._inputs(self.rates.rates[items], items, histories))

    def extended(
        self, features: np.ndarray, attributes: sparse.csr_matrix | None
    ) -> "RateRegression":
        """Append items without ratings; see ``ClickModel.add_items``."""
        grown = self.attributes
        if grown is not None and attributes is not None:
            grown = sparse.csr_matrix(sparse.vstack([grown, attributes]))
        return RateRegression(self.config, self.rates.extended(features), grown, self.coefficients)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        arrays = {
            "counts": self.rates.counts,
            "likes": self.rates.likes,
            "prior": self.rates.prior,
            "content": self.rates.content,
            "coefficients": self.coefficients,
        }
        if self.attributes is not None:
            arrays["attribute_offsets"] = self.attributes.indptr
            arrays["attribute_values"] = self.attributes.indices
            arrays["attribute_number"] = np.array([shape_of(self.attributes)[1]])
        return arrays

    @classmethod
    def restore(cls, config: LogisticCtrConfig, state: dict[str, np.ndarray]) -> Self:
        """Load the arrays of ``state``.

        Raises:
            ArtefactError: an array is missing.
        """
        counts, likes, prior, content, coefficients = required_arrays(
            "logistic_ctr", state, "counts", "likes", "prior", "content", "coefficients"
        )
        attributes = None
        if "attribute_offsets" in state:
            offsets, values = state["attribute_offsets"], state["attribute_values"]
            shape = (len(counts), int(state["attribute_number"][0]))
            attributes = sparse.csr_matrix((np.ones(len(values), bool), values, offsets), shape)
        rates = ItemRates(counts, likes, prior, content, config.shrinkage)
        return cls(config, rates, attributes, coefficients)

    def _inputs(self, rates: np.ndarray, items: np.ndarray, histories: HistoryRanges) -> np.ndarray:
        """Compute the inputs: float64, shape (pairs, inputs)."""
        config, events = self.config, histories.events
        residuals = events.liked - self.rates.rates[events.items]
        inputs = [
            logit(rates),
            departure(histories, residuals, config.shrinkage),
            departure(histories.last(config.newest), residuals, config.shrinkage),
        ]
        if self.attributes is not None and config.attribute_shrinkage is not None:
            inputs.append(
                affinity(items, histories, residuals, self.attributes, config.attribute_shrinkage)
            )
        return np.column_stack(inputs)

    def _combine(self, inputs: np.ndarray) -> np.ndarray:
        return self.coefficients[0] + inputs @ self.coefficients[1:]


class LogisticCtr(ClickModel):
    """Logistic regression on rate statistics; deterministic, without epochs."""

    name = "logistic_ctr"
    config_type = LogisticCtrConfig
    _regression: RateRegression

    def _fit(
        self,
        pairs: ClickData,
        validate: Validate | None,
        rng: np.random.Generator,
        run_folder: Path | None,
    ) -> None:
        self._regression, _ = RateRegression.fit(self.config, pairs)

    def _logits(self, users: np.ndarray, items: np.ndarray, histories: HistoryRanges) -> np.ndarray:
        return self._regression.logits(items, histories)

    def _extend(self, features: np.ndarray, attributes: sparse.csr_matrix | None) -> None:
        self._regression = self._regression.extended(features, attributes)

    def _learned(self) -> dict[str, np.ndarray]:
        return self._regression.state()

    def _load(self, state: dict[str, np.ndarray]) -> None:
        self._regression = RateRegression.restore(self.config, state)
