"""Logistic regression."""

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1.theory._arrays import like, matvec, sigmoid, softplus
from keras_h0h1.theory.problems.base import Problem, newton_minimum
from keras_h0h1.theory.smoothness import Smoothness


class Logistic(Problem):
    r"""$f(w) = \frac1m \sum_i \log(1 + e^{-y_i x_i^\top w})$, labels $y_i = \pm 1$.

    $H_0 = H_1 f^*$ and $H_1 = \max_i \|x_i\|^2$, because $\sigma'(z) \le \log(1 + e^{-z})$. On
    separable data $f^* = 0$ is not attained and $H_0 = 0$. Otherwise $f^*$ comes from Newton's
    method. `minimisers` is `None` where none exists or where they are an affine subspace.

    Args:
        x: Array `(m, n)`, one sample a row.
        y: Array `(m,)` of +1 and -1.

    Raises:
        ValueError: If the shapes do not fit or a label is not +1 or -1.

    Source: Alimisis, Islamov, Lucchi, arXiv 2510.03164.

    Example: two equal points with opposite labels; no $w$ does better than $\log 2$.

    >>> problem = Logistic([[2.0], [2.0]], [1, -1])
    >>> round(problem.minimum, 6), problem.H1, round(problem.H0, 6)
    (0.693147, 4.0, 2.772589)
    """

    smoothness: Smoothness  # never `None` here

    def __init__(self, x: ArrayLike, y: ArrayLike) -> None:
        x, y = np.asarray(x, dtype="float64"), np.asarray(y, dtype="float64")
        if x.ndim != 2 or y.shape != x.shape[:1] or not np.all(np.abs(y) == 1):
            raise ValueError(
                "`x` must have shape (m, n) and `y` shape (m,) with entries +1 and -1. "
                f"Received: x.shape={x.shape}, y.shape={y.shape}"
            )
        self.margins = y[:, None] * x
        H1 = float(np.max(np.sum(x**2, axis=1)))
        super().__init__(
            "logistic regression", x.shape[1], Smoothness(0.0, H1, 0.0), strong_convexity=0.0
        )
        found = newton_minimum(self)
        if found is None:
            return
        w, self.minimum = found
        if np.all(self.margins @ w > 0):
            self.minimum = 0.0  # a separating direction proves it; no point attains it
            return
        self.smoothness = self.smoothness.with_minimum(self.minimum)
        rank = np.linalg.matrix_rank(x)
        # Where data are separable in part, the curvature dies out along the way to infinity.
        if np.linalg.matrix_rank(self.hessian(w), tol=1e-9 * H1) == rank:
            self.theta = 1.0
            if rank == self.dimension:  # else the minimisers are an affine subspace
                self.minimisers = w[None]

    def _probabilities(self, xp, w):
        """The margins' tensor z and sigma(-z), the probability given to the wrong label."""
        z = matvec(self.margins, w)
        return z, sigmoid(-z)

    def _value(self, xp, w):
        z, _ = self._probabilities(xp, w)
        return xp.sum(softplus(-z), axis=-1) / len(self.margins)

    def _gradient(self, xp, w):
        _, wrong = self._probabilities(xp, w)
        return -matvec(self.margins.T, wrong) / len(self.margins)

    def _hessian(self, xp, w):
        _, wrong = self._probabilities(xp, w)
        a = like(self.margins, w)
        weights = wrong * (1.0 - wrong) / len(self.margins)
        return xp.einsum("...i,ij,ik->...jk", weights, a, a)
