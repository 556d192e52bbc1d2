"""The hyperbolic cosine: the function on which every inequality is an equality."""

import math

import numpy as np

from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.theory._arrays import cosh, sinh
from keras_h0h1.theory.problems.base import Problem, diagonal
from keras_h0h1.theory.smoothness import Smoothness


class Cosh(Problem):
    r"""$f(w) = \sum_j \frac{H_0}{H_1} (\cosh(\sqrt{H_1} w_j) - 1)$.

    In one dimension $f'' = H_0 + H_1 f$ and $f'^2 = 2 H_0 f + H_1 f^2$ hold with equality
    everywhere: the worst $(H_0, H_1)$-smooth function. $f^* = 0$ at $0$, $\mu = H_0$, $\theta = 1$.

    Args:
        H0: More than 0.
        H1: More than 0.
        dimension: Number of coordinates, 1 by default.

    Source: derived.

    Example:

    >>> import numpy as np
    >>> problem = Cosh(H0=2.0, H1=3.0)
    >>> w = np.array([1.7])
    >>> round(float(problem.curvature(w) / (2.0 + 3.0 * problem.value(w))), 12)
    1.0
    """

    smoothness: Smoothness  # never `None` here

    def __init__(self, H0: float = 1.0, H1: float = 1.0, dimension: int = 1) -> None:
        H0 = check_number("H0", H0, low=0, strict=True)
        H1 = check_number("H1", H1, low=0, strict=True)
        dimension = check_integer("dimension", dimension, low=1)
        super().__init__(
            "cosh",
            dimension,
            Smoothness(H0, H1),
            minimum=0.0,
            minimisers=np.zeros(dimension),
            mu=H0,
            theta=1.0,
            strong_convexity=H0,
        )

    def start(self, gap: float) -> np.ndarray:
        """The positive point on the first axis whose loss is `gap`, as a NumPy array."""
        w = np.zeros(self.dimension)
        H0, H1 = self.smoothness.H0, self.smoothness.H1
        w[0] = math.acosh(1.0 + H1 * gap / H0) / math.sqrt(H1)
        return w

    def _value(self, xp, w):
        # 2 sinh(z/2)^2 is cosh(z) - 1 without the cancellation near 0.
        half = sinh(0.5 * math.sqrt(self.H1) * w)
        return (2.0 * self.H0 / self.H1) * xp.sum(half * half, axis=-1)

    def _gradient(self, xp, w):
        return (self.H0 / math.sqrt(self.H1)) * sinh(math.sqrt(self.H1) * w)

    def _hessian(self, xp, w):
        return diagonal(xp, self.H0 * cosh(math.sqrt(self.H1) * w))


class Separation(Problem):
    r"""$f(w) = (\cosh w_1 - 1) + \frac{\mu}{2} w_2^2$, which separates adaptive from fixed steps.

    $H_0 = H_1 = 1$ and $f$ satisfies PL with $\mu$. A fixed step must be short enough for the steep
    start along $w_1$, and then crawls along the flat $w_2$; an adaptive step grows as $f$ falls.

    Args:
        mu: The flat direction's curvature, in (0, 1]. 0.1 is the instance of the reference table.

    Source: derived; steps from $\cosh w_1 - 1 = 10, \dots, 10^4$ and $w_2 = 1$ are in the tests.

    Example:

    >>> problem = Separation()
    >>> round(float(problem.value(problem.start(1000.0))), 9)
    1000.05
    """

    def __init__(self, mu: float = 0.1) -> None:
        mu = check_number("mu", mu, low=0, strict=True, high=1)
        super().__init__(
            "separation",
            2,
            Smoothness(1.0, 1.0),
            minimum=0.0,
            minimisers=np.zeros(2),
            mu=mu,
            theta=1.0,
            strong_convexity=mu,
        )

    def start(self, gap: float) -> np.ndarray:
        r"""The point with $\cosh w_1 - 1$ equal to `gap` and $w_2 = 1$, as a NumPy array."""
        return np.array([math.acosh(1.0 + gap), 1.0])

    def _value(self, xp, w):
        half = sinh(0.5 * w[..., 0])
        return 2.0 * half * half + 0.5 * self.mu * w[..., 1] * w[..., 1]

    def _gradient(self, xp, w):
        return xp.stack([sinh(w[..., 0]), self.mu * w[..., 1]], axis=-1)

    def _hessian(self, xp, w):
        entries = [cosh(w[..., 0]), self.mu * xp.ones_like(w[..., 1])]
        return diagonal(xp, xp.stack(entries, axis=-1))
