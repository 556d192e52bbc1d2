"""Paper A's hard function and hard family: a parabola continued by an exponential."""

import math

from keras_h0h1._validation import check_number
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness


class HardFamily(Problem):
    r"""A parabola near 0 and an exponential beyond, twice continuously differentiable.

    $$f(w) = \begin{cases} \frac{\mu}{2} w^2 & |w| \le 1/\sqrt{H_1} \\
    \frac{\mu}{H_1} (e^{\sqrt{H_1} |w| - 1} - \frac12) & \text{otherwise} \end{cases}$$

    Constants $(\mu, H_1)$ and PL with the same $\mu$; $f^* = 0$; convex.

    Args:
        mu: Curvature of the parabola; more than 0.
        H1: More than 0.

    Source: Alimisis, Islamov, Lucchi, arXiv 2510.03164.

    Example: value, slope and curvature where the two pieces meet, here at 1/2.

    >>> import numpy as np
    >>> problem = HardFamily(mu=3.0, H1=4.0)
    >>> w = np.array([[0.5 - 1e-12], [0.5 + 1e-12]])
    >>> problem.value(w).round(9), problem.hessian(w)[:, 0, 0].round(9)
    (array([0.375, 0.375]), array([3., 3.]))
    """

    def __init__(self, mu: float = 1.0, H1: float = 1.0) -> None:
        mu = check_number("mu", mu, low=0, strict=True)
        H1 = check_number("H1", H1, low=0, strict=True)
        super().__init__(
            "hard family",
            1,
            Smoothness(mu, H1),
            minimum=0.0,
            minimisers=[0.0],
            mu=mu,
            theta=1.0,
            strong_convexity=mu,
        )

    def _pieces(self, xp, w):
        """sqrt(H1)|w|, whether it is in the parabola, and e^(sqrt(H1)|w| - 1) outside it."""
        z = math.sqrt(self.H1) * xp.abs(w)
        inside = z <= 1.0
        # exp is taken of 0 in the parabola, where it is not used; it is large only outside.
        return z, inside, xp.exp(xp.where(inside, xp.zeros_like(z), z - 1.0))

    def _value(self, xp, w):
        z, inside, growth = self._pieces(xp, w)
        return (self.mu / self.H1) * xp.sum(xp.where(inside, 0.5 * z * z, growth - 0.5), axis=-1)

    def _gradient(self, xp, w):
        z, inside, growth = self._pieces(xp, w)
        return (self.mu / math.sqrt(self.H1)) * xp.sign(w) * xp.where(inside, z, growth)

    def _hessian(self, xp, w):
        _, _, growth = self._pieces(xp, w)
        return self.mu * growth[..., None]


def HardFunction(H: float = 1.0) -> Problem:
    r"""$\frac{H}{2} w^2 + \frac12$ for $|w| \le 1/\sqrt{H}$, $e^{\sqrt{H} |w| - 1}$ outside.

    That is `HardFamily(mu=H, H1=H) + 0.5`: $H_0 = H_1 = H$, $f^* = 1/2$, $\mu = H$.

    Args:
        H: More than 0.

    Source: Alimisis, Islamov, Lucchi, arXiv 2510.03164.

    Example:

    >>> import numpy as np
    >>> problem = HardFunction(4.0)
    >>> problem.minimum, round(float(problem.value(np.array([1.0]))), 6), round(np.e, 6)
    (0.5, 2.718282, 2.718282)
    """
    problem = HardFamily(mu=H, H1=H) + 0.5
    problem.name = "hard function"
    return problem
