"""From what a query says to the text of what is recommended: ridge regression on training requests.

    vector of the query = (x - mean x) W,    W = argmin |X W - Y|^2 + l2 |W|^2

x stacks the vector of the newest turns, the mean vector of the mentioned items and the state of the
causal LM; y is the text vector of the item that was recommended. The similarity of query and item
then means "is recommended after", not "sounds like", for new items too.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy import linalg

from warmstart.config import Config


class QueryRegressionConfig(Config):
    """Settings of the regression.

    Attributes:
        l2: penalty of the squared weights, in requests; the inputs of each kind have a mean squared
            length of 1.
    """

    l2: float = Field(default=10.0, gt=0)


@dataclass(frozen=True)
class QueryRegression:
    """Fitted weights.

    Attributes:
        scales: what the inputs of each kind are multiplied by, float32, shape (kinds,).
        mean: mean input, float32, shape (inputs,).
        weights: W, float32, shape (inputs, width of text vectors).
    """

    scales: np.ndarray
    mean: np.ndarray
    weights: np.ndarray

    def queries(self, *inputs: np.ndarray) -> np.ndarray:
        """Vectors of queries, to be multiplied by text vectors of items.

        Args:
            inputs: of each kind, float32, shape (queries, width of the kind).

        Returns:
            float32, shape (queries, width of text vectors).
        """
        return (_stacked(inputs, self.scales) - self.mean) @ self.weights

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of an artefact."""
        return {"scales": self.scales, "mean": self.mean, "weights": self.weights}


def fit_query_regression(
    inputs: tuple[np.ndarray, ...], targets: np.ndarray, config: QueryRegressionConfig
) -> QueryRegression:
    """Fit the regression.

    Args:
        inputs: of each kind, float32, shape (requests, width of the kind).
        targets: text vectors of the recommended items, float32, shape (requests, width).
        config: the settings.
    """
    squares = [np.square(kind).sum() / max(len(kind), 1) for kind in inputs]
    scales = np.array([1 / np.sqrt(s) if s > 0 else 0.0 for s in squares], np.float32)
    stacked = _stacked(inputs, scales).astype(np.float64)
    mean = stacked.mean(axis=0)
    centred = stacked - mean
    gram = centred.T @ centred + config.l2 * np.eye(centred.shape[1])
    wanted = centred.T @ (targets - targets.mean(axis=0))
    weights = linalg.solve(gram, wanted, assume_a="pos")
    return QueryRegression(scales, mean.astype(np.float32), weights.astype(np.float32))


def _stacked(inputs: tuple[np.ndarray, ...], scales: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [kind * scale for kind, scale in zip(inputs, scales, strict=True)], axis=1
    )
