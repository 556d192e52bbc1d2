"""A problem whose constants have an exponent above 1."""

import numpy as np

from keras_h0h1.theory import Smoothness
from keras_h0h1.theory.problems import Problem


class Barrier(Problem):
    r"""$f = s ((1 - u^2)^{-k} - 1) + \frac\mu2 v^2$, with constants for $\rho = 1 + 2/k$.

    With $F = (1 - u^2)^{-k}$ the second derivative of F is at most $4 k (k + 1) F^\rho$ and at
    least $2 k$, and $(1 + x)^\rho \le 2^{\rho - 1} (1 + x^\rho)$. Outside $|u| < 1$ it is infinite.

    Args:
        k: More than 0.
        scale: $s$.
        mu: $\mu$, at most $2 k s$.
    """

    def __init__(self, k: float, scale: float, mu: float):
        self.k, self.scale = k, scale
        rho = 1 + 2 / k
        size = 4 * k * (k + 1) * 2 ** (rho - 1)
        smoothness = Smoothness(scale * size, size * scale ** (1 - rho), rho=rho)
        super().__init__("barrier", 2, smoothness, minimum=0.0, minimisers=np.zeros(2), mu=mu)

    def _inner(self, xp, w):
        u = w[..., 0]
        return u, w[..., 1], xp.where(u * u < 1, 1 - u * u, np.nan * u)

    def _value(self, xp, w):
        _, v, room = self._inner(xp, w)
        return self.scale * (room**-self.k - 1) + self.mu / 2 * v * v

    def _gradient(self, xp, w):
        u, v, room = self._inner(xp, w)
        slope = 2 * self.scale * self.k * u * room ** (-self.k - 1)
        return xp.stack([slope, self.mu * v], axis=-1)

    def _hessian(self, xp, w):
        u, _, room = self._inner(xp, w)
        k = self.k
        second = 2 * k * room ** (-k - 1) + 4 * k * (k + 1) * u * u * room ** (-k - 2)
        diagonal = xp.stack([self.scale * second, self.mu + 0 * u], axis=-1)
        return diagonal[..., None] * xp.eye(2, dtype=w.dtype)
