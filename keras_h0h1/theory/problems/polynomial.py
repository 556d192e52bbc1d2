"""Powers of the norm, the double well and the quadratic."""

from collections.abc import Iterable

import numpy as np

from keras_h0h1._validation import check_choice, check_integer, check_number
from keras_h0h1.theory._arrays import norm
from keras_h0h1.theory.problems.base import Problem, diagonal
from keras_h0h1.theory.smoothness import Smoothness


class NormPower(Problem):
    r"""$f(w) = \|w\|^p$ with $p > 2$: $\rho = (p-2)/p$, $K_0 = 0$, $K_\rho = p(p-1)$, exactly.

    $\|\nabla^2 f\| = K_\rho f^\rho$ and $\|\nabla f\|^2 = 2 K_\rho f^{\rho + 1} / (\rho + 1)$ hold
    with equality everywhere, in every dimension. Convex, but not PL: the curvature vanishes at the
    minimiser.

    Args:
        p: The power, more than 2.
        dimension: Number of coordinates, 1 by default.

    Source: the class is that of Liu, Ge, Pan, Kang and Zhang, *Theoretical Analysis on how
    Learning Rate Warmup Accelerates Convergence*, arXiv 2509.07972; the equality is derived.

    Example:

    >>> import numpy as np
    >>> problem = NormPower(4.0, dimension=3)
    >>> w = np.array([1.0, -2.0, 0.5])
    >>> round(float(problem.curvature(w) / (12.0 * problem.value(w) ** 0.5)), 12)
    1.0
    """

    def __init__(self, p: float = 4.0, dimension: int = 1) -> None:
        self.p = check_number("p", p, low=2, strict=True)
        dimension = check_integer("dimension", dimension, low=1)
        p = self.p
        super().__init__(
            f"|w|^{p:g}",
            dimension,
            Smoothness(0.0, p * (p - 1.0), rho=(p - 2.0) / p),
            minimum=0.0,
            minimisers=np.zeros(dimension),
            theta=1.0,
            strong_convexity=0.0,
        )

    def _value(self, xp, w):
        return norm(w) ** self.p

    def _gradient(self, xp, w):
        return self.p * norm(w)[..., None] ** (self.p - 2.0) * w

    def _hessian(self, xp, w):
        radius = norm(w)[..., None]
        unit = w / xp.where(radius > 0, radius, xp.ones_like(radius))
        outer = unit[..., :, None] * unit[..., None, :]
        scale = self.p * radius[..., None] ** (self.p - 2.0)
        return scale * (diagonal(xp, xp.ones_like(w)) + (self.p - 2.0) * outer)


class DoubleWell(Problem):
    r"""$f(w) = (1 - w^2)^2$: not convex, two minimisers, yet $(H_0, H_1)$-smooth.

    $|f''| \le 8 + 12 \sqrt{f} \le 14 + 6 f$.

    Args:
        constants: `"affine"` for (14, 6) with $\rho = 1$; `"power"` for (8, 12) with $\rho = 1/2$.

    Source: derived.

    Example:

    >>> import numpy as np
    >>> problem = DoubleWell()
    >>> float(problem.curvature(np.array([3.0]))), float(14 + 6 * problem.value(np.array([3.0])))
    (104.0, 398.0)
    """

    def __init__(self, constants: str = "affine") -> None:
        check_choice("constants", constants, ("affine", "power"))
        known = {"affine": Smoothness(14.0, 6.0), "power": Smoothness(8.0, 12.0, rho=0.5)}
        super().__init__(
            "double well", 1, known[constants], minimum=0.0, minimisers=[[-1.0], [1.0]]
        )

    def _value(self, xp, w):
        return xp.sum((1.0 - w * w) ** 2, axis=-1)

    def _gradient(self, xp, w):
        return -4.0 * w * (1.0 - w * w)

    def _hessian(self, xp, w):
        return diagonal(xp, 12.0 * w * w - 4.0)


class Quadratic(Problem):
    r"""$f(w) = \frac12 \sum_j a_j w_j^2$ with $a_j \ge 0$: constant curvature, $H_1 = 0$.

    Args:
        curvatures: The numbers $a_j \ge 0$.

    Example:

    >>> problem = Quadratic([4.0, 1.0])
    >>> problem.H0, problem.H1, problem.mu
    (4.0, 0.0, 1.0)
    """

    def __init__(self, curvatures: Iterable[float]) -> None:
        curvatures = np.array([check_number("curvatures", a, low=0) for a in curvatures])
        self.curvatures = curvatures
        positive = curvatures[curvatures > 0]
        super().__init__(
            "quadratic",
            len(curvatures),
            Smoothness(float(curvatures.max()), 0.0),
            minimum=0.0,
            # With a zero among the curvatures the minimisers are a whole subspace.
            minimisers=np.zeros(len(curvatures)) if curvatures.min() > 0 else None,
            mu=float(positive.min()) if len(positive) else 0.0,
            theta=1.0,
            strong_convexity=float(curvatures.min()),
        )

    def _value(self, xp, w):
        return 0.5 * xp.sum(self._entries(xp, w) * w, axis=-1)

    def _gradient(self, xp, w):
        return self._entries(xp, w)

    def _hessian(self, xp, w):
        return diagonal(xp, self._entries(xp, xp.ones_like(w)))

    def _entries(self, xp, w):
        return xp.stack([float(a) * w[..., j] for j, a in enumerate(self.curvatures)], axis=-1)
