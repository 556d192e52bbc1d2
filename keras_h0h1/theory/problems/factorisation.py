"""Deep linear chains of scalars: the smallest networks with a saddle and a sharpness."""

import math

from keras_h0h1._types import Numeric
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness


class LinearChain(Problem):
    r"""$f(w) = (y - x w_1 w_2 \cdots w_L)^2$, a linear network of $L$ layers of width 1.

    Not $(H_0, H_1)$-smooth on the whole space: with $w_1 \to \infty$ and
    $w_2 = y / (x w_1 w_3 \cdots)$ the loss stays 0 while the curvature grows without bound. So
    `smoothness` is `None`. Gradient flow keeps every $w_i^2 - w_j^2$, hence the balanced line
    $w_1 = \dots = w_L$, on which the curvature grows like $f^{1 - 1/L}$. Its phases along the
    flow are known in closed form, see `sharpness_turns`.

    Args:
        depth: $L$, at least 2.
        x: The input; not 0.
        y: The target.

    Source: derived.

    Example: at a minimiser of the balanced line the curvature is $2 L x^2 w^{2L - 2}$.

    >>> import numpy as np
    >>> problem = LinearChain(depth=3)
    >>> float(problem.value(np.ones(3))), round(float(problem.curvature(np.ones(3))), 9)
    (0.0, 6.0)
    """

    def __init__(self, depth: int = 2, x: float = 1.0, y: float = 1.0) -> None:
        self.depth = check_integer("depth", depth, low=2)
        self.x, self.y = check_number("x", x), check_number("y", y)
        if self.x == 0:
            raise ValueError(f"`x` must not be 0. Received: x={x!r}")
        super().__init__(f"linear chain of depth {depth}", self.depth, None, minimum=0.0)

    def sharpness_turns(self) -> tuple[float, float]:
        r"""The products $p_1 < y/(2x)$ at which the curvature turns on the balanced line.

        With $p = w_1 \cdots w_L$, $z = x p > 0$ and $q = 1 - 2/L$ the Hessian has the eigenvalue
        $2 x p^q ((2L - 1) z - (L - 1) y)$ once and $2 x p^q (y - z)$ another $L - 1$ times. Their
        largest size is minus the first for $z \le \frac{L-2}{2L-2} y$, then the second, and the
        first from $z = y/2$ on. Hence it rises while $z \le z_1 = \frac{(L - 2) y}{2 (2L - 1)}$,
        falls until $z = y/2$, and rises again. Along gradient flow from a balanced start in
        $0 < z < y$ the product grows to $y/x$: the sharpness falls, then rises, exactly if it
        starts at $z_1 \le z < y/2$; below $z_1$, which is 0 for two layers, it rises first.

        Returns:
            $z_1 / x$ and $y / (2x)$.

        Raises:
            ValueError: If $x y \le 0$.

        Example:

        >>> LinearChain(depth=2).sharpness_turns(), LinearChain(depth=3).sharpness_turns()
        ((0.0, 0.5), (0.1, 0.5))
        """
        if self.x * self.y <= 0:
            raise ValueError(f"A balanced line needs x * y > 0. Received: x={self.x}, y={self.y}")
        target, depth = self.y / self.x, self.depth
        return (depth - 2) * target / (2 * (2 * depth - 1)), target / 2

    def _without(self, xp, w, *left_out):
        """The product of all coordinates but these; without division, so exact at 0."""
        result = xp.ones_like(w[..., 0])
        for j in range(self.depth):
            if j not in left_out:
                result = result * w[..., j]
        return result

    def _residual(self, xp, w):
        return self.y - self.x * self._without(xp, w)

    def _value(self, xp, w):
        return self._residual(xp, w) ** 2

    def _gradient(self, xp, w):
        partial = xp.stack([self._without(xp, w, i) for i in range(self.depth)], axis=-1)
        return -2.0 * self.x * self._residual(xp, w)[..., None] * partial

    def _hessian(self, xp, w):
        partial = [self._without(xp, w, i) for i in range(self.depth)]
        residual = self._residual(xp, w)
        rows = []
        for i in range(self.depth):
            row = []
            for j in range(self.depth):
                entry = 2.0 * self.x**2 * partial[i] * partial[j]
                if i != j:
                    entry = entry - 2.0 * self.x * residual * self._without(xp, w, i, j)
                row.append(entry)
            rows.append(xp.stack(row, axis=-1))
        return xp.stack(rows, axis=-2)


class ScalarFactorisation(LinearChain):
    r"""$f(u, v) = (y - u v x)^2$, the chain of depth 2, with its curvature in closed form.

    $$\|\nabla^2 f\| = x^2 (u^2 + v^2) + \sqrt{x^4 (u^2 - v^2)^2 + 4 x^2 (2uvx - y)^2}$$

    On the balanced line $u = v$ with $x y > 0$, and only there, it is
    $2 x^2 u^2 + 2 |x| |2 u^2 x - y| \le 4 |x y| + 6 |x| \sqrt{f}$.

    Args:
        x: The input; not 0.
        y: The target.

    Source: derived. Claimed on the balanced line alone.

    Example: the curvature does not know the loss off the balanced line.

    >>> import numpy as np
    >>> problem = ScalarFactorisation()
    >>> w = np.array([[1.0, 1.0], [100.0, 0.01]])
    >>> problem.value(w), problem.curvature(w).round(2)
    (array([0., 0.]), array([4.e+00, 2.e+04]))
    """

    def __init__(self, x: float = 1.0, y: float = 1.0) -> None:
        super().__init__(2, x, y)
        self.name = "(y - uvx)^2"

    def curvature(self, w: Numeric) -> Numeric:
        """The closed form above."""
        xp, w = self._point(w)
        u, v = w[..., 0], w[..., 1]
        inner = (self.x**2 * (u * u - v * v)) ** 2
        inner = inner + (2.0 * self.x * (2.0 * u * v * self.x - self.y)) ** 2
        return self.x**2 * (u * u + v * v) + xp.sqrt(inner)

    def balanced_smoothness(self, rho: float = 1.0) -> Smoothness:
        r"""Constants on the line $u = v$, for $\rho$ = 1/2 (the sharper) or 1.

        For $\rho = 1$: $6 |x| \sqrt{f} \le 3 |x| (1 + f)$.
        """
        if self.x * self.y <= 0:
            raise ValueError(f"The line u = v needs x * y > 0. Received: x={self.x}, y={self.y}")
        size = abs(self.x)
        if rho == 0.5:
            return Smoothness(4.0 * self.x * self.y, 6.0 * size, rho=0.5)
        if rho == 1.0:
            return Smoothness(4.0 * self.x * self.y + 3.0 * size, 3.0 * size)
        raise ValueError(f"`rho` must be 0.5 or 1. Received: rho={rho!r}")

    def flow_sharpness_minimum(self) -> float:
        r"""The least curvature on the balanced line: $|x y|$, at $u^2 x = y/2$.

        Gradient flow from a small balanced start passes it: the sharpness falls from $2|xy|$ to
        $|xy|$, then rises to $4|xy|$ at the minimiser.
        """
        return math.fabs(self.x * self.y)
