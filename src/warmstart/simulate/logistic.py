"""Logistic regression on a handful of inputs."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

_PENALTY = 1e-3  # keeps coefficients finite where truth and inputs part cleanly


def logistic(
    inputs: np.ndarray, truth: np.ndarray, at_least: Sequence[float | None] | None = None
) -> np.ndarray:
    """Coefficients w of the chance sigma(inputs @ w), with a small quadratic penalty.

    Args:
        inputs: shape (pairs, inputs); a column of ones is the intercept.
        truth: bool, shape (pairs,).
        at_least: the least value of each coefficient; None where any will do.

    Returns:
        Float64, shape (inputs,).
    """
    signs = np.where(truth, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (inputs @ weights)
        gradient = -(signs * expit(-margins)) @ inputs / len(signs) + _PENALTY * weights
        value = np.logaddexp(0, -margins).mean() + _PENALTY * (weights @ weights) / 2
        return float(value), gradient

    bounds = None if at_least is None else [(least, None) for least in at_least]
    start = np.zeros(inputs.shape[1])
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
