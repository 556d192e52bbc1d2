"""A mean of exponentials with a ridge: strongly convex, far from Lipschitz-smooth."""

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_number
from keras_h0h1.theory._arrays import like, matvec
from keras_h0h1.theory.problems.base import Problem, newton_minimum
from keras_h0h1.theory.smoothness import Smoothness


class ExponentialMean(Problem):
    r"""$f(w) = \frac1m \sum_i e^{a_i^\top w} + \frac{\mu}{2} \|w\|^2$.

    $H_1 = \max_i \|a_i\|^2$ and $H_0 = \mu + H_1 f^*$, with $f^*$ by Newton's method in float64.

    Args:
        directions: Array `(m, n)` of the $a_i$.
        mu: The ridge's strength; more than 0.

    Source: derived.

    Example: with one $a = 1$ and $\mu = 1$ the minimiser solves $e^w = -w$.

    >>> problem = ExponentialMean([[1.0]], mu=1.0)
    >>> round(float(problem.minimisers[0, 0]), 6), round(problem.minimum, 6)
    (-0.567143, 0.727969)
    """

    smoothness: Smoothness  # never `None` here

    def __init__(self, directions: ArrayLike, mu: float) -> None:
        self.directions = np.atleast_2d(np.asarray(directions, dtype="float64"))
        mu = check_number("mu", mu, low=0, strict=True)
        n = self.directions.shape[1]
        H1 = float(np.max(np.sum(self.directions**2, axis=1)))
        # mu and H1 bound the curvature above the level 0 already: f >= 0.
        super().__init__(
            "mean of exponentials",
            n,
            Smoothness(mu, H1, 0.0),
            mu=mu,
            theta=1.0,
            strong_convexity=mu,
        )
        found = newton_minimum(self)
        if found is None:
            raise ValueError(
                "Newton's method did not find the minimum. "
                f"Received: directions={directions!r}, mu={mu!r}"
            )
        minimiser, self.minimum = found
        self.minimisers = minimiser[None]
        self.smoothness = self.smoothness.with_minimum(self.minimum)

    def _growth(self, xp, w):
        return xp.exp(matvec(self.directions, w)) / len(self.directions)

    def _value(self, xp, w):
        return xp.sum(self._growth(xp, w), axis=-1) + 0.5 * self.mu * xp.sum(w * w, axis=-1)

    def _gradient(self, xp, w):
        return matvec(self.directions.T, self._growth(xp, w)) + self.mu * w

    def _hessian(self, xp, w):
        a = like(self.directions, w)
        eye = self.mu * xp.eye(self.dimension, dtype=w.dtype)
        return xp.einsum("...i,ij,ik->...jk", self._growth(xp, w), a, a) + eye
