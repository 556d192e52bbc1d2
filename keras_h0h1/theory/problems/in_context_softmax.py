"""One softmax attention layer on in-context regression, on a fixed sample of tasks."""

import math

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.theory._arrays import like
from keras_h0h1.theory._guards import require
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness


class InContextSoftmaxAttention(Problem):
    r"""$f(v, Q) = \frac{1}{2T} \sum_t (v a_t(Q) - y_{t,q})^2 + \frac{\lambda_1}{2} v^2 +
    \frac{\lambda_2}{2} \|Q\|_F^2$ with $a_t = \sum_i softmax_i(x_{t,i}^\top Q x_{t,q})\, y_{t,i}$.

    $(H_0, H_1)$-smooth on the whole space above the level 0. Within a task let $A$ be the largest
    $|y_i|$, $Y$ half of the range of the $y_i$, $D$ half of the largest distance of two $x_i$,
    $B = Y D \|x_q\|$ and $E = 2 Y D^2 \|x_q\|^2$; a bar is the mean over tasks.

    $$H_0 = \max(\lambda_1, \lambda_2) + \overline{A^2} + \tfrac{\lambda_1}{4}, \qquad
    H_1 = \frac{2 \overline{B^2}}{\lambda_1} + \sqrt{\overline{E^2} / \lambda_1}.$$

    The steps: along a direction $U$ of $Q$ the first derivative of $a$ is the covariance of $y$
    and $z = x_i^\top U x_q$ under the softmax, at most $B \|U\|$; the second is
    $E[(y - a)(z - \bar z)^2]$, at most $E \|U\|^2$. So with the mean error $e$ the curvature is at
    most $\max(\lambda_1, \lambda_2) + \overline{A^2} + v^2 \overline{B^2} + \sqrt{2e}
    (\overline{B^2}^{1/2} + |v| \overline{E^2}^{1/2})$, and $v^2 \le 2 (f - e) / \lambda_1$. Young's
    inequality, $\sqrt{2e \overline{B^2}} \le \lambda_1/4 + 2 e \overline{B^2} / \lambda_1$, leaves
    a quadratic form in $\sqrt{e}$ and $\sqrt{f - e}$ with the largest eigenvalue $H_1$.

    The ridge on $v$ is needed: where the targets of each task have mean 0, $a_t(0) = 0$, so the
    mean error at $Q = 0$ is the same for every $v$, while the second derivative in $Q$ contains
    $v^2$ times a mean square, which has no bound. None is needed on $Q$, as the softmax is bounded.

    A point is $v$ followed by the rows of $Q$, $1 + d^2$ numbers.

    Args:
        x: Array `(T, n, d)`, the inputs of each task.
        y: Array `(T, n)`, their targets.
        query: Array `(T, d)`.
        target: Array `(T,)`.
        ridge_v: $\lambda_1$, more than 0 for constants.
        ridge_Q: $\lambda_2$, at least 0.

    Source: the class is treated by Alimisis, Islamov, Lucchi, arXiv 2510.03164; constants and
    proof here are derived.

    Example:

    >>> problem = InContextSoftmaxAttention.sample(dimension=2, context=4, tasks=3, seed=0)
    >>> problem.dimension, problem.smoothness.H0 > 0
    (5, True)
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        query: ArrayLike,
        target: ArrayLike,
        ridge_v: float = 0.1,
        ridge_Q: float = 0.1,
    ) -> None:
        arrays = [np.asarray(array, dtype="float64") for array in (x, y, query, target)]
        self.x, self.y, self.query, self.target = arrays
        shape = self.x.shape
        fits = len(shape) == 3 and self.y.shape == shape[:2]
        if not fits or self.query.shape != shape[::2] or self.target.shape != shape[:1]:
            raise ValueError(
                "`x` must have shape (T, n, d), `y` (T, n), `query` (T, d) and `target` (T,). "
                f"Received: shapes={[array.shape for array in arrays]}"
            )
        self.ridge_v = check_number("ridge_v", ridge_v, low=0)
        self.ridge_Q = check_number("ridge_Q", ridge_Q, low=0)
        smoothness = self.certificate() if self.ridge_v > 0 else None
        super().__init__("in-context softmax attention", 1 + shape[-1] ** 2, smoothness)

    @classmethod
    def sample(
        cls,
        dimension: int,
        context: int,
        tasks: int,
        seed: int = 0,
        ridge_v: float = 0.1,
        ridge_Q: float = 0.1,
    ) -> "InContextSoftmaxAttention":
        """Tasks with standard normal inputs, query and regression vector.

        Args:
            dimension: d.
            context: n, the number of examples in a task.
            tasks: T.
            seed: Of the random numbers.
            ridge_v: As for the class.
            ridge_Q: As for the class.
        """
        for name, count in (("dimension", dimension), ("context", context), ("tasks", tasks)):
            check_integer(name, count, low=1)
        random = np.random.default_rng(seed)
        x = random.normal(size=(tasks, context, dimension))
        query, beta = random.normal(size=(2, tasks, dimension))
        y, target = np.einsum("tnd,td->tn", x, beta), np.sum(query * beta, axis=1)
        return cls(x, y, query, target, ridge_v, ridge_Q)

    def certificate(self, ridge: float | None = None) -> Smoothness:
        r"""The constants above.

        Args:
            ridge: A claim for $\lambda_1$ other than the problem's own: no bound if it is larger,
                it shows what the ridge is needed for.

        Raises:
            GuardError: `ridge_positive`.
        """
        ridge = self.ridge_v if ridge is None else ridge
        require("ridge_positive", ridge > 0, "ridge_v > 0", ridge_v=ridge)
        apart = np.linalg.norm(self.x[:, :, None] - self.x[:, None], axis=-1)
        D, X = 0.5 * np.max(apart, axis=(1, 2)), np.linalg.norm(self.query, axis=1)
        Y = 0.5 * (np.max(self.y, axis=1) - np.min(self.y, axis=1))
        A = float(np.mean(np.max(np.abs(self.y), axis=1) ** 2))
        B, E = float(np.mean((Y * D * X) ** 2)), float(np.mean((2 * Y * D**2 * X**2) ** 2))
        H0 = max(self.ridge_v, self.ridge_Q) + A + 0.25 * ridge
        return Smoothness(H0, 2 * B / ridge + math.sqrt(E / ridge))

    def _forward(self, xp, w):
        """V and Q; softmax (..., T, n), y - a likewise; a and the error (..., T)."""
        d = self.x.shape[-1]
        Q = xp.reshape(w[..., 1:], (*w.shape[:-1], d, d))
        z = xp.einsum("tnb,...bc,tc->...tn", like(self.x, w), Q, like(self.query, w))
        z = xp.exp(z - xp.max(z, axis=-1)[..., None])
        weights = z / xp.sum(z, axis=-1)[..., None]
        a = xp.sum(weights * like(self.y, w), axis=-1)
        error = w[..., :1] * a - like(self.target, w)
        return Q, weights, like(self.y, w) - a[..., None], a, error

    def _slopes(self, xp, w, weights, centred):
        """The derivative of each a by Q: (..., T, d^2)."""
        moved = xp.einsum("...tn,tnb->...tb", weights * centred, like(self.x, w))
        slope = xp.einsum("...tb,tc->...tbc", moved, like(self.query, w))
        return xp.reshape(slope, (*slope.shape[:-2], self.dimension - 1))

    def _value(self, xp, w):
        Q, *_, error = self._forward(xp, w)
        size = xp.einsum("...ab,...ab->...", Q, Q)
        loss = 0.5 * xp.sum(error * error, axis=-1) / len(self.target)
        v = w[..., 0]
        return loss + 0.5 * self.ridge_v * v * v + 0.5 * self.ridge_Q * size

    def _gradient(self, xp, w):
        _, weights, centred, a, error = self._forward(xp, w)
        slopes = self._slopes(xp, w, weights, centred)
        error = error / len(self.target)
        outer = xp.sum(error * a, axis=-1)[..., None] + self.ridge_v * w[..., :1]
        inner = xp.einsum("...t,...tq->...q", error, slopes) * w[..., :1]
        return xp.concatenate([outer, inner + self.ridge_Q * w[..., 1:]], axis=-1)

    def _hessian(self, xp, w):
        _, weights, centred, a, error = self._forward(xp, w)
        slopes, tasks = self._slopes(xp, w, weights, centred), len(self.target)
        v = w[..., :1]
        corner = xp.sum(a * a, axis=-1) / tasks + self.ridge_v
        mixed = xp.einsum("...t,...tq->...q", a * v + error, slopes) / tasks
        square = (v * v)[..., None] * xp.einsum("...tp,...tq->...pq", slopes, slopes) / tasks
        x, query = like(self.x, w), like(self.query, w)
        mean = xp.einsum("...tn,tnb->...tb", weights, x)
        apart = x - mean[..., None, :]
        bend = xp.einsum("...tn,...tnb,...tnd->...tbd", weights * centred, apart, apart)
        bend = xp.einsum("...tbd,tc,te,...t->...bcde", bend, query, query, error * v / tasks)
        size = self.dimension - 1
        square = square + xp.reshape(bend, (*bend.shape[:-4], size, size))
        square = square + self.ridge_Q * xp.eye(size, dtype=w.dtype)
        top = xp.concatenate([corner[..., None], mixed], axis=-1)[..., None, :]
        bottom = xp.concatenate([mixed[..., None], square], axis=-1)
        return xp.concatenate([top, bottom], axis=-2)
