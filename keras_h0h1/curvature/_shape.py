"""The exponent and the infimum, where they are to be fitted."""

from typing import Any

import numpy as np

from keras_h0h1.curvature._regression import least_squares
from keras_h0h1.step_sizes import gap


def _squared_error(x, y):
    a, b = least_squares(x, y)
    return float(np.sum((y - a - b * x) ** 2))


def _golden(function, low, high, grid=41, rounds=40):
    """Minimiser of a function of one variable: the best of a grid, refined by golden section."""
    points = np.linspace(low, high, grid)
    best = int(np.argmin([function(p) for p in points]))
    low, high = points[max(best - 1, 0)], points[min(best + 1, grid - 1)]
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(rounds):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if function(left) <= function(right):
            high = right
        else:
            low = left
    return 0.5 * (low + high)


RHO_RANGE = (0.05, 4.0)


def fit_shape(
    losses: np.ndarray, curvatures: np.ndarray, rho: float | str, f_star: float | str
) -> tuple[Any, Any]:
    """Fills in what is to be fitted among the exponent and the infimum."""
    smallest, spread = losses.min(), losses.max() - losses.min()

    def best_rho(star):
        if rho != "fit":
            return rho
        return _golden(lambda p: _squared_error(gap(losses, star) ** p, curvatures), *RHO_RANGE)

    if f_star != "fit":
        return best_rho(f_star), f_star

    def cost(star):
        return _squared_error(gap(losses, star) ** best_rho(star), curvatures)

    # At most one spread below the smallest loss: further down the curve cannot be told.
    coarse = {"grid": 11, "rounds": 16} if rho == "fit" else {}
    star = _golden(cost, smallest - spread, smallest, **coarse)
    return best_rho(star), star
