"""One linear attention layer on in-context regression, averaged over all tasks in closed form."""

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.theory._arrays import like
from keras_h0h1.theory._guards import require
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness


class InContextAttention(Problem):
    r"""$f(v, Q) = \frac12 E (\hat y - \beta^\top x_q)^2 + \frac{\lambda_1}{2} v^2 +
    \frac{\lambda_2}{2} \|Q\|_F^2$, $(H_0, H_1)$-smooth on the whole space.

    A task is $\beta \sim N(0, I)$ with $n$ inputs $x_i \sim N(0, \Sigma)$, their targets
    $y_i = \beta^\top x_i$ and a query $x_q \sim N(0, \Sigma)$. The layer, with keys and queries
    merged into one matrix, predicts $\hat y = \frac{v}{n} \sum_i y_i\, x_i^\top Q x_q$. With
    $\Gamma = (1 + \frac1n) \Sigma^2 + \frac{tr \Sigma}{n} \Sigma$, the mean of
    $(\frac1n \sum_i x_i x_i^\top)^2$, the mean over all tasks is

    $$f = \tfrac12 (v^2 tr(\Gamma Q \Sigma Q^\top) - 2 v\, tr(\Sigma Q \Sigma) + tr \Sigma)
    + \tfrac{\lambda_1}{2} v^2 + \tfrac{\lambda_2}{2} \|Q\|_F^2.$$

    Constants above the least mean error of any linear map,
    $f_{ls} = \frac12 tr(\Sigma - \Gamma^{-1} \Sigma^3)$, with $\tau^2 = \|\Gamma\| \|\Sigma\|$ and
    $\lambda = \min(\lambda_1, \lambda_2)$:

    $$H_0 = \max(\lambda_1, \lambda_2) + \tfrac{\lambda}{4}, \qquad H_1 = 2 \tau^2 / \lambda.$$

    The steps: $\hat y = v T(Q)$ with a linear $T$ of norm $\tau$, so along $(u, U)$ the mean
    error's second derivative is $\|u T(Q) + v T(U)\|^2 + 2 u \langle \hat y - y, T(U) \rangle$, at
    most $\tau^2 (v^2 + \|Q\|^2) + \tau \sqrt{2e}$ in size, where $e$ is the error above $f_{ls}$.
    The weights obey $v^2 + \|Q\|^2 \le 2 (f - f_{ls} - e) / \lambda$, and
    $\tau \sqrt{2e} - 2 \tau^2 e / \lambda \le \lambda / 4$. In one dimension the bound is attained.

    With keys and queries as two matrices, and the same ridge, the squared Jacobian is of degree 4
    in the weights: it is bounded by a power $\rho = 2$ of the gap, not by $\rho = 1$.

    A point is $v$ followed by the rows of $Q$, $1 + d^2$ numbers.

    Args:
        covariance: $\Sigma$, array `(d, d)`, symmetric and positive definite.
        context: $n$, the number of examples in a task.
        ridge_v: $\lambda_1$, more than 0.
        ridge_Q: $\lambda_2$, more than 0.

    Source: the class is treated by Alimisis, Islamov, Lucchi, arXiv 2510.03164; constants and
    proof here are derived.

    Example:

    >>> import numpy as np
    >>> problem = InContextAttention(np.eye(2), context=8, ridge_v=0.1, ridge_Q=0.1)
    >>> w = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    >>> round(float(problem.value(w)), 3), round(problem.f_star, 3)
    (0.525, 0.273)
    """

    def __init__(
        self,
        covariance: ArrayLike,
        context: int,
        ridge_v: float = 0.1,
        ridge_Q: float = 0.1,
    ) -> None:
        self.covariance = np.asarray(covariance, dtype="float64")
        square = self.covariance.ndim == 2 and len(set(self.covariance.shape)) == 1
        definite = square and np.array_equal(self.covariance, self.covariance.T)
        if not definite or np.min(np.linalg.eigvalsh(self.covariance)) <= 0:
            raise ValueError(
                "`covariance` must be a symmetric positive definite matrix. "
                f"Received: covariance={covariance!r}"
            )
        self.context = check_integer("context", context, low=1)
        self.ridge_v = check_number("ridge_v", ridge_v, low=0)
        self.ridge_Q = check_number("ridge_Q", ridge_Q, low=0)
        S, n = self.covariance, self.context
        self.second_moment = (1 + 1 / n) * S @ S + np.trace(S) / n * S
        explained = np.trace(np.linalg.solve(self.second_moment, S @ S @ S))
        self.level = 0.5 * float(np.trace(S) - explained)
        smoothness = self.certificate() if min(self.ridge_v, self.ridge_Q) > 0 else None
        super().__init__("in-context linear attention", 1 + S.size, smoothness)

    def certificate(self, ridge: float | None = None) -> Smoothness:
        r"""The constants above.

        Args:
            ridge: A claim for $\lambda$ other than the problem's own: no bound if it is larger,
                it shows what the ridge is needed for.

        Raises:
            GuardError: `ridge_positive`.
        """
        ridge = min(self.ridge_v, self.ridge_Q) if ridge is None else ridge
        require("ridge_positive", ridge > 0, "ridge_v > 0 and ridge_Q > 0", ridge=ridge)
        square = np.linalg.norm(self.second_moment, 2) * np.linalg.norm(self.covariance, 2)
        H0 = max(self.ridge_v, self.ridge_Q) + 0.25 * ridge
        return Smoothness(H0, 2.0 * float(square) / ridge, self.level)

    def has_two_phases(self) -> bool:
        r"""Whether the sharpness falls, then rises, along the flow from a small balanced start.

        For $d = 1$ and $\lambda_1 = \lambda_2 = \lambda$, on the balanced line $v = Q$:
        $2 \lambda < \tau c$, where $\tau c = \Sigma^2$. With $P = \tau v^2$ the sharpness is
        $\lambda + \tau \max(c - P, 3 P - c)$, which falls until $P = c/2$, and the flow ends at
        $P = c - \lambda/\tau$.

        Raises:
            GuardError: `one_dimension`, `equal_ridges`.
        """
        one = len(self.covariance) == 1
        require("one_dimension", one, "d = 1", d=len(self.covariance))
        equal = self.ridge_v == self.ridge_Q
        require("equal_ridges", equal, "equal ridges", ridge_v=self.ridge_v, ridge_Q=self.ridge_Q)
        return 2 * self.ridge_v < float(self.covariance[0, 0]) ** 2

    def _split(self, xp, w):
        """V (...); Q (..., d, d); S Q^T as a product; constants as what `w` is."""
        d = len(self.covariance)
        Q = xp.reshape(w[..., 1:], (*w.shape[:-1], d, d))
        S, second = like(self.covariance, w), like(self.second_moment, w)
        mapped = xp.einsum("ab,...bc,cd->...ad", second, Q, S)
        return w[..., 0], Q, mapped, like(self.covariance @ self.covariance, w)

    def _value(self, xp, w):
        v, Q, mapped, target = self._split(xp, w)
        square = xp.einsum("...ab,...ab->...", Q, mapped)
        cross = xp.einsum("ab,...ab->...", target, Q)
        error = 0.5 * (v * v * square - 2.0 * v * cross + float(np.trace(self.covariance)))
        size = xp.einsum("...ab,...ab->...", Q, Q)
        return error + 0.5 * self.ridge_v * v * v + 0.5 * self.ridge_Q * size

    def _gradient(self, xp, w):
        v, Q, mapped, target = self._split(xp, w)
        square = xp.einsum("...ab,...ab->...", Q, mapped)
        cross = xp.einsum("ab,...ab->...", target, Q)
        outer = v * square - cross + self.ridge_v * v
        v = v[..., None, None]
        inner = v * v * mapped - v * target + self.ridge_Q * Q
        return xp.concatenate([outer[..., None], xp.reshape(inner, w[..., 1:].shape)], axis=-1)

    def _hessian(self, xp, w):
        v, Q, mapped, target = self._split(xp, w)
        corner = xp.einsum("...ab,...ab->...", Q, mapped) + self.ridge_v
        mixed = xp.reshape(2.0 * v[..., None, None] * mapped - target, w[..., 1:].shape)
        # Row-major: Gamma U Sigma is the Kronecker product of the two with the rows of U.
        kronecker = like(np.kron(self.second_moment, self.covariance), w)
        square = (v * v)[..., None, None] * kronecker
        square = square + self.ridge_Q * xp.eye(self.dimension - 1, dtype=w.dtype)
        top = xp.concatenate([corner[..., None], mixed], axis=-1)[..., None, :]
        bottom = xp.concatenate([mixed[..., None], square], axis=-1)
        return xp.concatenate([top, bottom], axis=-2)
