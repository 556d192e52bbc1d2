"""A two-layer network with the logistic loss and its smoothness certificate."""

import math

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.theory._arrays import like, sigmoid, softplus, tanh
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness

# Bounds on |tanh(z)/z|, |tanh'| and |tanh''|.
_C1, _C2, _C3 = 1.0, 1.0, 4.0 / (3.0 * math.sqrt(3.0))


class TwoLayerNet(Problem):
    r"""$f(v, W) = \sum_i \log(1 + e^{-y_i v^\top \tanh(W x_i)}) + \frac{\lambda_1}{2} \|v\|^2
    + \frac{\lambda_2}{2} \|W\|_F^2$, $(H_0, H_1)$-smooth on the whole space.

    A point is $v$ followed by the rows of $W$: $n = k + k d$ for $k$ hidden units and inputs of
    dimension $d$. Above the level 0, with $\|X\|$ the spectral norm of the data matrix,

    $$\|\nabla^2 f\| \le \lambda_1 + \lambda_2 + B_{res} + (B_{res} + C_{lin}) f,$$

    $B_{res} = 2 \sqrt2 C_2 \|X\|$, $C_{lin} = (2 A_1 + A_{12} + B_{mix}) / \lambda_1 +
    (2 A_2 + A_{12}) / \lambda_2 + B_{mix} / 2$, $A_1 = C_2^2 \|X\|^2$, $A_2 = C_1^2 \|X\|^2$,
    $A_{12} = 2 C_1 C_2 \|X\|^2$, $B_{mix} = \sqrt2 C_3 \|X\| \max_i \|x_i\|$, and for tanh
    $C_1 = C_2 = 1$, $C_3 = 4 / (3 \sqrt3)$.

    Where each term comes from: $A_1$, $A_2$, $A_{12}$ bound the squared Jacobian of the outputs,
    whose weights $\|v\|^2$, $\|W\|^2$ are at most $2 f / \lambda$; $B_{res}$ the residuals times
    the mixed derivative of $v$ and $W$; $B_{mix}$ the residuals times $v \tanh''$, which is of
    second order in $x$. The factor $\max_i \|x_i\|$ may be left out for data with rows of norm at
    most 1, and only then: without it the bound fails on data that are large.

    Args:
        x: Array `(m, d)`.
        y: Array `(m,)` of +1 and -1.
        hidden: Number of hidden units $k$.
        ridge_v: $\lambda_1$, more than 0.
        ridge_W: $\lambda_2$, more than 0.

    Source: the class is treated by Alimisis, Islamov, Lucchi, arXiv 2510.03164; these constants
    are derived (the printed ones are not used).

    Example:

    >>> import numpy as np
    >>> problem = TwoLayerNet([[1.0]], [1], hidden=1, ridge_v=1.0, ridge_W=1.0)
    >>> w = np.array([1.0, 0.5])
    >>> bool(problem.curvature(w) <= problem.smoothness.bound(problem.value(w)))
    True
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        hidden: int = 4,
        ridge_v: float = 1.0,
        ridge_W: float = 1.0,
    ) -> None:
        self.x, self.y = np.asarray(x, dtype="float64"), np.asarray(y, dtype="float64")
        if self.x.ndim != 2 or self.y.shape != self.x.shape[:1] or np.any(np.abs(self.y) != 1):
            raise ValueError(
                "`x` must have shape (m, d) and `y` shape (m,) with entries +1 and -1. "
                f"Received: x.shape={self.x.shape}, y.shape={self.y.shape}"
            )
        self.hidden = check_integer("hidden", hidden, low=1)
        self.ridge_v = check_number("ridge_v", ridge_v, low=0, strict=True)
        self.ridge_W = check_number("ridge_W", ridge_W, low=0, strict=True)
        dimension = self.hidden * (1 + self.x.shape[1])
        super().__init__("two-layer network", dimension, self.certificate())

    def certificate(self, omit: tuple[str, ...] = ()) -> Smoothness:
        """The constants above, above the level 0.

        Args:
            omit: Terms to set to 0, among `"A1"`, `"A2"`, `"A12"`, `"Bmix"`, `"Bres"`, `"ridge"`:
                not a bound any more; it shows what a term is needed for.
        """
        size = float(np.linalg.norm(self.x, 2))
        terms = {
            "A1": _C2**2 * size**2,
            "A2": _C1**2 * size**2,
            "A12": 2.0 * _C1 * _C2 * size**2,
            "Bmix": math.sqrt(2.0) * _C3 * size * float(np.max(np.linalg.norm(self.x, axis=1))),
            "Bres": 2.0 * math.sqrt(2.0) * _C2 * size,
            "ridge": self.ridge_v + self.ridge_W,
        }
        for name in omit:
            if name not in terms:
                raise ValueError(f"`omit` must be among {sorted(terms)}. Received: omit={omit!r}")
            terms[name] = 0.0
        linear = (
            (2.0 * terms["A1"] + terms["A12"] + terms["Bmix"]) / self.ridge_v
            + (2.0 * terms["A2"] + terms["A12"]) / self.ridge_W
            + 0.5 * terms["Bmix"]
        )
        return Smoothness(terms["ridge"] + terms["Bres"], terms["Bres"] + linear)

    def _forward(self, xp, w):
        """V (..., k); activations, their derivatives (..., m, k); margins, wrong (..., m).

        `wrong` is the probability given to the wrong label, minus the loss's derivative.
        """
        k, d = self.hidden, self.x.shape[1]
        v = w[..., :k]
        W = xp.reshape(w[..., k:], (*w.shape[:-1], k, d))
        active = tanh(xp.einsum("mi,...ki->...mk", like(self.x, w), W))
        slope = 1.0 - active * active
        z = like(self.y, w) * xp.einsum("...mk,...k->...m", active, v)
        return v, active, slope, z, sigmoid(-z)

    def _ridges(self, xp, w):
        k = self.hidden
        weights = np.full(self.dimension, self.ridge_W)
        weights[:k] = self.ridge_v
        return like(weights, w)

    def _jacobian(self, xp, w, v, active, slope):
        """The derivative of the m outputs: (..., m, n)."""
        inner = xp.einsum("...mk,mi->...mki", slope * v[..., None, :], like(self.x, w))
        inner = xp.reshape(inner, (*inner.shape[:-2], self.dimension - self.hidden))
        return xp.concatenate([active, inner], axis=-1)

    def _value(self, xp, w):
        *_, z, _ = self._forward(xp, w)
        loss = xp.sum(softplus(-z), axis=-1)
        return loss + 0.5 * xp.sum(self._ridges(xp, w) * w * w, axis=-1)

    def _gradient(self, xp, w):
        v, active, slope, _, wrong = self._forward(xp, w)
        jacobian = self._jacobian(xp, w, v, active, slope)
        residual = -like(self.y, w) * wrong
        return xp.einsum("...m,...mn->...n", residual, jacobian) + self._ridges(xp, w) * w

    def _hessian(self, xp, w):
        k, d = self.hidden, self.x.shape[1]
        v, active, slope, _, wrong = self._forward(xp, w)
        x = like(self.x, w)
        jacobian = self._jacobian(xp, w, v, active, slope)
        weights = wrong * (1.0 - wrong)
        hessian = xp.einsum("...m,...mi,...mj->...ij", weights, jacobian, jacobian)
        residual = -like(self.y, w) * wrong
        # The two blocks of the outputs' own second derivative; unit j meets its own row alone.
        eye = xp.eye(k, dtype=w.dtype)
        mixed = xp.einsum("...mj,mi,jl->...jli", residual[..., None] * slope, x, eye)
        mixed = xp.reshape(mixed, (*mixed.shape[:-2], k * d))
        bend = -2.0 * active * slope * v[..., None, :] * residual[..., None]
        square = xp.einsum("...mj,mi,mo,jl->...jilo", bend, x, x, eye)
        square = xp.reshape(square, (*square.shape[:-4], k * d, k * d))
        zeros = xp.zeros((*mixed.shape[:-1], k), dtype=mixed.dtype)
        top = xp.concatenate([zeros, mixed], axis=-1)
        bottom = xp.concatenate([xp.swapaxes(mixed, -1, -2), square], axis=-1)
        diagonal = self._ridges(xp, w) * xp.eye(self.dimension, dtype=w.dtype)
        return hessian + xp.concatenate([top, bottom], axis=-2) + diagonal
