"""Logistic regression with few inputs, solved by L-BFGS-B."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

_L2 = 1e-3  # keeps coefficients finite if the inputs separate the labels


def fit_logistic(
    inputs: np.ndarray, labels: np.ndarray, lower_bounds: Sequence[float | None] | None = None
) -> np.ndarray:
    """Fit the coefficients w of the probability sigma(inputs @ w), with a small L2 penalty.

    Args:
        inputs: shape (pairs, inputs); a column of ones makes its coefficient the intercept.
        labels: bool, shape (pairs,).
        lower_bounds: lower bound of each coefficient; None in a place leaves that one unbounded.

    Returns:
        float64, shape (inputs,).
    """
    signs = np.where(labels, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (inputs @ weights)
        gradient = -(signs * expit(-margins)) @ inputs / len(signs) + _L2 * weights
        value = np.logaddexp(0, -margins).mean() + _L2 * (weights @ weights) / 2
        return float(value), gradient

    bounds = None if lower_bounds is None else [(bound, None) for bound in lower_bounds]
    start = np.zeros(inputs.shape[1])
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
