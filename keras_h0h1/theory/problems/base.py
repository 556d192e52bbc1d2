"""What every problem offers."""

import abc
from typing import Any

import numpy as np
from keras import ops

from keras_h0h1._types import ArrayLike, Numeric
from keras_h0h1.theory._arrays import like, namespace, norm
from keras_h0h1.theory.smoothness import Smoothness


class Problem(abc.ABC):
    r"""A function with its derivatives and the constants that are known for it.

    Points are arrays or tensors of shape `(n,)` or, for a batch, `(..., n)`. NumPy in, NumPy
    (float64) out; tensors in, tensors of the same dtype out.

    Problems combine: `p + q`, `p + 3.0`, `2.0 * p`, `p.affine(A, b)`, `p.ridge(strength)`, and
    `problems.mean([p, q])`. The constants of the result come from `Smoothness` arithmetic.

    Subclasses call `__init__` with what they know and implement `_value`, `_gradient` and
    `_hessian`, each of `(xp, w)` where `xp` is NumPy or `keras.ops`.

    Attributes:
        name: A short name for tables and figures.
        dimension: $n$.
        smoothness: `Smoothness`, or `None` where no constants hold everywhere.
        minimum: The minimum (or unattained infimum) $f^*$, or `None` if it is not known.
        minimisers: Array `(m, n)` of all minimisers, or `None` if there is none or not finitely
            many are known.
        mu: A Polyak-Łojasiewicz constant, $\|\nabla f\|^2 \ge 2 \mu (f - f^*)$; 0 if none is known.
        theta: An Aiming constant, $\langle \nabla f(w), w - w^* \rangle \ge \theta (f(w) - f^*)$;
            1 for a convex function with a minimiser, `None` if none is known.
        strong_convexity: A constant $m \ge 0$ with $\nabla^2 f \succeq m I$, or `None` if the
            function is not known to be convex.
    """

    def __init__(
        self,
        name: str,
        dimension: int,
        smoothness: Smoothness | None,
        *,
        minimum: float | None = None,
        minimisers: ArrayLike | None = None,
        mu: float = 0.0,
        theta: float | None = None,
        strong_convexity: float | None = None,
    ) -> None:
        self.name = name
        self.dimension = dimension
        self.smoothness = smoothness
        self.minimum = minimum
        self.minimisers = None if minimisers is None else np.atleast_2d(minimisers).astype(float)
        self.mu = mu
        self.theta = theta
        self.strong_convexity = strong_convexity

    @abc.abstractmethod
    def _value(self, xp, w): ...

    @abc.abstractmethod
    def _gradient(self, xp, w): ...

    @abc.abstractmethod
    def _hessian(self, xp, w): ...

    @property
    def H0(self) -> float | None:
        """The constant H0, or `None` where no constants hold everywhere."""
        return None if self.smoothness is None else self.smoothness.H0

    @property
    def H1(self) -> float | None:
        """The constant H1, or `None` where no constants hold everywhere."""
        return None if self.smoothness is None else self.smoothness.H1

    @property
    def rho(self) -> float | None:
        """The exponent of the gap, or `None` where no constants hold everywhere."""
        return None if self.smoothness is None else self.smoothness.rho

    @property
    def f_star(self) -> float | None:
        """The level that the constants refer to: the minimum where known, else a lower bound."""
        return self.minimum if self.smoothness is None else self.smoothness.f_star

    @property
    def convex(self) -> bool:
        """Whether the function is known to be convex."""
        return self.strong_convexity is not None

    def value(self, w: Numeric) -> Numeric:
        """$f(w)$, of shape `(...)`."""
        return self._value(*self._point(w))

    def gradient(self, w: Numeric) -> Numeric:
        r"""$\nabla f(w)$, of shape `(..., n)`."""
        return self._gradient(*self._point(w))

    def hessian(self, w: Numeric) -> Numeric:
        r"""$\nabla^2 f(w)$, of shape `(..., n, n)`."""
        return self._hessian(*self._point(w))

    def curvature(self, w: Numeric) -> Numeric:
        r"""$\|\nabla^2 f(w)\|$, the spectral norm, of shape `(...)`."""
        xp, w = self._point(w)
        hessian = self._hessian(xp, w)
        if self.dimension == 1:
            return xp.abs(hessian[..., 0, 0])
        eigenvalues = np.linalg.eigvalsh(hessian) if xp is np else ops.eigh(hessian)[0]
        return xp.max(xp.abs(eigenvalues), axis=-1)

    def gap(self, w: Numeric) -> Numeric:
        """$f(w) - f^*$, above `minimum` where it is known and above `f_star` where it is not."""
        return self.value(w) - (self.f_star if self.minimum is None else self.minimum)

    def distance(self, w: Numeric) -> Numeric:
        """The distance from `w` to the nearest minimiser."""
        if self.minimisers is None:
            raise ValueError(f"The minimisers are not known. Received: problem={self.name!r}")
        xp, w = self._point(w)
        return xp.min(norm(w[..., None, :] - like(self.minimisers, w)), axis=-1)

    def affine(self, A: ArrayLike, b: ArrayLike | None = None) -> "Problem":
        r"""$w \mapsto f(Aw + b)$; see `problems.Affine`."""
        from keras_h0h1.theory.problems.closures import Affine

        return Affine(self, A, b)

    def ridge(self, strength: float) -> "Problem":
        r"""$f(w) + \frac{s}{2} \|w\|^2$; see `problems.Ridge`."""
        from keras_h0h1.theory.problems.closures import Ridge

        return Ridge(self, strength)

    def __add__(self, other: "Problem | float") -> "Problem":
        from keras_h0h1.theory.problems.closures import Shifted, Sum

        return Sum([self, other]) if isinstance(other, Problem) else Shifted(self, other)

    __radd__ = __add__

    def __mul__(self, scale: float) -> "Problem":
        from keras_h0h1.theory.problems.closures import Scaled

        return Scaled(self, scale)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"<{self.name}: dimension={self.dimension}, {self.smoothness}, mu={self.mu:g}>"

    def _point(self, w):
        xp = namespace(w)
        if xp is np:
            w = np.asarray(w, dtype="float64")
        if len(w.shape) == 0 or w.shape[-1] != self.dimension:
            raise ValueError(
                f"A point of {self.name} needs {self.dimension} coordinates on its last axis. "
                f"Received: w.shape={tuple(w.shape)}"
            )
        return xp, w


def diagonal(xp: Any, entries: Numeric) -> Numeric:
    """The matrices `(..., n, n)` with these diagonals `(..., n)`."""
    eye = xp.eye(entries.shape[-1], dtype=entries.dtype)
    return entries[..., None] * eye


def newton_minimum(
    problem: Problem,
    start: ArrayLike | None = None,
    tolerance: float = 1e-12,
    iterations: int = 200,
) -> tuple[np.ndarray, float] | None:
    """Minimises a convex problem by damped Newton steps, in NumPy float64.

    Returns:
        `(minimiser, minimum)`, or `None` if the gradient did not vanish: the infimum may not be
        attained.
    """
    w = np.zeros(problem.dimension) if start is None else np.asarray(start, dtype="float64")
    loss = problem.value(w)
    for _ in range(iterations):
        gradient, hessian = problem.gradient(w), problem.hessian(w)
        if np.linalg.norm(gradient) <= tolerance * max(1.0, float(np.linalg.norm(hessian, 2))):
            return w, float(loss)
        direction = np.linalg.lstsq(hessian, gradient, rcond=1e-13)[0]
        slope, size = float(gradient @ direction), 1.0
        while size > 1e-12:
            trial = w - size * direction
            trial_loss = problem.value(trial)
            # The second clause accepts full steps where the decrease drowns in rounding.
            if trial_loss <= loss - 0.25 * size * slope or slope < 1e-14 * max(1.0, abs(loss)):
                break
            size *= 0.5
        w, loss = trial, trial_loss
    return None
