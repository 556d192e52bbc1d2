"""Deep linear networks of any widths, and their constants near the balanced set."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from keras_h0h1._types import ArrayLike, Numeric
from keras_h0h1._validation import check_number
from keras_h0h1.theory._arrays import like
from keras_h0h1.theory._guards import require
from keras_h0h1.theory.problems._layers import (
    DepthBound,
    Layers,
    data_matrices,
    identity,
    product,
    quadratic_loss,
    transposed_product,
)
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness


class DeepLinearNet(Problem):
    r"""$f(W_1, \dots, W_L) = \frac12 \|Y - W_L \cdots W_1 X\|_F^2$.

    No constants hold on the whole space (see `LinearChain`), so `smoothness` is `None`;
    `certificate` gives constants on the set where the imbalance
    $D = \sum_i \|W_{i+1}^\top W_{i+1} - W_i W_i^\top\|$ is at most a number, for data $X$ of full
    row rank. On the balanced set, $D = 0$, which gradient flow keeps. The steps, with
    $P = W_L \cdots W_1$, the least-squares solution $\Phi = Y X^+$, the level
    $f_{ls} = \frac12 \|Y - \Phi X\|_F^2$, $\Delta = f - f_{ls}$ and
    $r = \|(P - \Phi) X\|_F = \sqrt{2 \Delta}$:

    1. Along a direction $U$ the second derivative is $\|\sum_i W_{>i} U_i W_{<i} X\|_F^2 +
       2 \sum_{i<j} \langle R, W_{>j} U_j W_{j>\cdot>i} U_i W_{<i} X \rangle$ with
       $R = P X - Y$, and $R X^\top = (P - \Phi) X X^\top$. If every $\|W_i\| \le s$, it is at
       most $(L \|X\|^2 s^{2L-2} + (L-1) \|X\| r s^{L-2}) \|U\|^2$ in size, because
       $2 \sum_{i<j} u_i u_j \le (L-1) \sum_i u_i^2$.
    2. $\sigma_{min}(X) \|P - \Phi\| \le r$, hence $\|P\| \le \|\Phi\| + r / \sigma_{min}(X)$.
    3. $s^2 \le \|P\|^{2/L} + \frac32 D$: the top singular vector of one end layer loses at most
       $\|W_{i+1}^\top W_{i+1} - W_i W_i^\top\|$ of its squared gain in each further layer. On the
       balanced set $s^L = \|P\|$.
    4. So $\|\nabla^2 f\| \le h(\Delta)$ for a function $h$ that is concave in $\Delta^\rho$,
       $\rho \ge 1 - 1/L$, and the tangent of $h$ at any `level` gives $H_0$ and $H_1$. With
       $\rho = 1$ this is Young's inequality with its best weights.

    The bound $h$ is attained: scalar layers, $X = 1$, $P \ge Y > 0$.

    Discrete gradient descent changes $W_{i+1}^\top W_{i+1} - W_i W_i^\top$ by exactly
    $\eta^2 (G_{i+1}^\top G_{i+1} - G_i G_i^\top)$. With steps of at most $1/\ell(\Delta)$ all these
    changes sum to at most $2 c_L \Delta_0 / H_0$, $c_2 = 1$ and else $c_L = 2$:
    `trajectory_certificate` gives constants that hold along the whole run.

    A point is the rows of $W_1$, then those of $W_2$, and so on.

    Args:
        X: Array `(d_0, m)`, a column for each sample.
        Y: Array `(d_L, m)`.
        widths: The widths $d_1, \dots, d_{L-1}$ of the hidden layers, at least one.

    Source: the class is treated by Alimisis, Islamov, Lucchi, arXiv 2510.03164, and by Liu, Ge,
    Pan, Kang, Zhang, arXiv 2509.07972; constants and proofs here are derived.

    Example: a balanced point, where the tangent at its own gap is an equality.

    >>> import numpy as np
    >>> problem = DeepLinearNet([[1.0]], [[1.0]], widths=[1, 1])
    >>> w = np.full(3, 1.5)
    >>> smoothness = problem.certificate(level=float(problem.gap(w)))
    >>> round(float(problem.curvature(w) / smoothness.bound(problem.value(w))), 9)
    1.0
    """

    def __init__(self, X: ArrayLike, Y: ArrayLike, widths: Sequence[int]) -> None:
        self.X, self.Y = data_matrices(X, Y)
        self.layers = Layers((len(self.X), *widths, len(self.Y)))
        self.depth = self.layers.depth
        if self.depth < 2:
            raise ValueError(f"`widths` must name a hidden layer. Received: widths={widths!r}")
        self.singular_values = np.linalg.svd(self.X, compute_uv=False)
        self.solution = self.Y @ np.linalg.pinv(self.X)
        fitted = self.solution @ self.X
        self.level = float(quadratic_loss(np, self.Y - fitted))
        # Eckart and Young: a bottleneck keeps the largest singular values of the fit alone.
        lost = np.linalg.svd(fitted, compute_uv=False)[min(self.layers.widths) :]
        self.fit_size = float(np.linalg.norm(fitted))
        minimum = self.level + 0.5 * float(np.sum(lost**2))
        name = f"linear network of depth {self.depth}"
        super().__init__(name, self.layers.dimension, None, minimum=minimum)

    def curvature_bound(self, imbalance: float = 0.0) -> DepthBound:
        r"""The function $h$ of the gap above `level`, where the imbalance is at most this.

        Raises:
            GuardError: `full_row_rank`; `imbalance_nonnegative`.
        """
        require("imbalance_nonnegative", imbalance >= 0, "imbalance >= 0", imbalance=imbalance)
        values = self.singular_values
        full = len(self.X) <= self.X.shape[1] and values[-1] > 1e-10 * values[0]
        require("full_row_rank", full, "X of full row rank", singular_values=values.tolist())
        return self._bound(float(values[-1]), imbalance)

    def _bound(self, smallest, imbalance):
        offset = float(np.linalg.norm(self.solution, 2))
        largest = float(self.singular_values[0])
        return DepthBound(self.depth, largest, offset, 1.0 / smallest, 1.5 * imbalance)

    def certificate(
        self, imbalance: float = 0.0, level: float | None = None, rho: float = 1.0
    ) -> Smoothness:
        r"""Constants where the imbalance is at most `imbalance`, above the level $f_{ls}$.

        Args:
            imbalance: The largest imbalance; `self.imbalance(w)` measures it.
            level: The gap at which the bound touches $h$. Default: that of zero weights,
                $\frac12 \|\Phi X\|_F^2$, or 1 if that is 0.
            rho: The exponent, at least $1 - 1/L$.

        Raises:
            GuardError: `full_row_rank`; `imbalance_nonnegative`; `rho_at_least_1_minus_1_over_L`.
        """
        level = (0.5 * self.fit_size**2 or 1.0) if level is None else level
        return self.curvature_bound(imbalance).tangent(level, rho, self.level)

    def trajectory_certificate(
        self, start: ArrayLike, level: float | None = None, rho: float = 1.0
    ) -> Smoothness:
        r"""Constants along gradient descent from `start` with steps of at most $1/\ell(\Delta)$.

        The imbalance never exceeds $\bar D = D_0 + 2 c_L \Delta_0 / H_0(\bar D)$, which is solved
        for here. The loss never rises, whatever the balance of the start.

        Args:
            start: A point `(n,)`.
            level: As for `certificate`.
            rho: As for `certificate`.

        Raises:
            GuardError: `full_row_rank`; `rho_at_least_1_minus_1_over_L`.
        """
        first = float(self.imbalance(start))
        drift = 2.0 * (1 if self.depth == 2 else 2) * (float(self.value(start)) - self.level)

        def enough(imbalance):
            H0 = self.certificate(imbalance, level, rho).H0
            return H0 > 0 and imbalance >= first + drift / H0

        low, high = first, max(first, 1e-12)
        while not enough(high):
            low, high = high, 2.0 * high
        for _ in range(60):  # `high` always satisfies the inequality
            middle = 0.5 * (low + high)
            low, high = (low, middle) if enough(middle) else (middle, high)
        return self.certificate(high, level, rho)

    def imbalance(self, w: Numeric) -> np.ndarray:
        r"""$\sum_i \|W_{i+1}^\top W_{i+1} - W_i W_i^\top\|$ in NumPy, of shape `(...)`."""
        matrices = self.layers.split(*self._point(np.asarray(w, dtype="float64")))
        total: Numeric = 0.0
        for below, above in itertools.pairwise(matrices):
            difference = np.swapaxes(above, -1, -2) @ above - below @ np.swapaxes(below, -1, -2)
            total = total + np.linalg.norm(difference, 2, axis=(-2, -1))
        return total

    def balance(self, w: Numeric) -> np.ndarray:
        """Balanced points with the end-to-end matrices of `w`, in NumPy.

        A bottleneck keeps the largest singular values. The hidden layers keep the left singular
        vectors of their own matrices.
        """
        xp, w = self._point(np.asarray(w, dtype="float64"))
        matrices = self.layers.split(xp, w)
        rank = min(self.layers.widths)
        left, values, right = np.linalg.svd(product(xp, *matrices[::-1]), full_matrices=False)
        root = values[..., :rank] ** (1.0 / self.depth)
        frames = [np.swapaxes(right, -1, -2)[..., :rank]]
        for matrix in matrices[:-1]:
            frames.append(np.linalg.svd(matrix)[0][..., :rank])
        frames.append(left[..., :rank])
        balanced = [
            (after * root[..., None, :]) @ np.swapaxes(before, -1, -2)
            for before, after in itertools.pairwise(frames)
        ]
        return self.layers.join(xp, balanced)

    def restrict(self, imbalance: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
        """A map of points `(m, n)` into the set of this imbalance, for `certify`.

        Points go to balanced ones, and back towards themselves as far as the set allows.
        """
        check_number("imbalance", imbalance, low=0)

        def into_the_set(points):
            balanced = self.balance(points)
            if imbalance == 0:
                return balanced
            result, share = points, np.ones(len(points))
            for _ in range(30):
                outside = self.imbalance(result) > imbalance
                share = np.where(outside, 0.5 * share, share)
                result = balanced + share[:, None] * (points - balanced)
            return np.where((self.imbalance(result) > imbalance)[:, None], balanced, result)

        return into_the_set

    def _forward(self, xp, w):
        """The matrices, W_(<i), W_(>i) and the residual, for each layer i."""
        matrices = self.layers.split(xp, w)
        below = [identity(xp, self.layers.widths[0], w)]
        for matrix in matrices[:-1]:
            below.append(product(xp, matrix, below[-1]))
        above = [identity(xp, self.layers.widths[-1], w)]
        for matrix in matrices[:0:-1]:
            above.insert(0, product(xp, above[0], matrix))
        output = product(xp, matrices[-1], below[-1], like(self.X, w))
        return matrices, below, above, output - like(self.Y, w)

    def _value(self, xp, w):
        return quadratic_loss(xp, self._forward(xp, w)[-1])

    def _pull(self, xp, w, residual):
        return product(xp, residual, like(self.X.T, w))

    def _gradient(self, xp, w):
        _, below, above, residual = self._forward(xp, w)
        signal = self._pull(xp, w, residual)
        gradients = [
            product(xp, transposed_product(xp, left, signal), xp.swapaxes(right, -1, -2))
            for left, right in zip(above, below, strict=True)
        ]
        return self.layers.join(xp, gradients)

    def _hessian(self, xp, w):
        matrices, below, above, residual = self._forward(xp, w)
        signal, moment = self._pull(xp, w, residual), like(self.X @ self.X.T, w)
        blocks = {}
        for i in range(self.depth):
            between = identity(xp, self.layers.widths[i + 1], w)
            for j in range(i, self.depth):
                left = transposed_product(xp, above[i], above[j])
                right = product(xp, below[i], moment, xp.swapaxes(below[j], -1, -2))
                block = xp.einsum("...bd,...ce->...bcde", left, right)
                if j > i:
                    outer = transposed_product(xp, above[j], signal)
                    outer = product(xp, outer, xp.swapaxes(below[i], -1, -2))
                    # Entry (W_i[b, c], W_j[d, e]) = outer[d, c] between[e, b].
                    block = block + xp.einsum("...dc,...eb->...bcde", outer, between)
                    between = product(xp, matrices[j], between)
                blocks[i, j] = block
        return self.layers.assemble(xp, blocks)
