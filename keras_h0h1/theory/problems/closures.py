"""Sums, means, scalings, shifts, affine maps and ridges: problems made of problems.

What is known about the result is derived from what is known about its parts: constants by
`Smoothness` arithmetic, the minimum where it follows without computation, or, for convex results
with a strictly positive curvature, by Newton's method in float64. Where the minimum stays unknown,
`smoothness.f_star` is a lower bound on the function and the inequality still holds.
"""

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_number
from keras_h0h1.theory import smoothness as constants
from keras_h0h1.theory._arrays import like, matvec
from keras_h0h1.theory.problems.base import Problem, newton_minimum


class Sum(Problem):
    r"""$F = \sum_i f_i$, with $H_0 = \sum_i H_0^i + \max_i H_1^i (F^* - \sum_i f_i^*)$.

    The constants are `None` if a part has none. The Polyak-Łojasiewicz inequality is not closed
    under sums, so `mu` is the sum of the strong convexities.

    Args:
        parts: Problems of one dimension and, if they have constants, one `rho`.

    Raises:
        ValueError: If the dimensions differ.

    Source: derived (the triangle inequality).

    Example: two worst-case functions that disagree about their minimiser.

    >>> import numpy as np
    >>> from keras_h0h1.theory.problems import Cosh
    >>> left, right = Cosh().affine([[1.0]], [1.0]), Cosh().affine([[1.0]], [-1.0])
    >>> round((left + right).H0, 6), round(float(2 * np.cosh(1.0)), 6)
    (3.086161, 3.086161)
    """

    def __init__(self, parts: list[Problem]) -> None:
        self.parts = list(parts)
        dimensions = sorted({part.dimension for part in self.parts})
        if len(dimensions) != 1:
            raise ValueError(
                f"A sum needs problems of one dimension. Received: dimensions={dimensions}"
            )
        known = [part.smoothness for part in self.parts if part.smoothness is not None]
        convexities = [
            part.strong_convexity for part in self.parts if part.strong_convexity is not None
        ]
        every = len(self.parts)
        super().__init__(
            " + ".join(dict.fromkeys(part.name for part in self.parts)),
            dimensions[0],
            constants.total(known) if len(known) == every else None,
            strong_convexity=sum(convexities) if len(convexities) == every else None,
        )
        shared = _shared_minimisers(self.parts)
        if shared is not None:
            minima = [part.minimum for part in self.parts if part.minimum is not None]
            self.minimisers, self.minimum = shared, sum(minima)
        _finish(self)

    def _value(self, xp, w):
        return sum(part._value(xp, w) for part in self.parts)

    def _gradient(self, xp, w):
        return sum(part._gradient(xp, w) for part in self.parts)

    def _hessian(self, xp, w):
        return sum(part._hessian(xp, w) for part in self.parts)


def mean(parts: list[Problem]) -> Problem:
    r"""$\frac1n \sum_i f_i$, as `Sum` and `Scaled`.

    >>> from keras_h0h1.theory.problems import Cosh
    >>> mean([Cosh(1.0, 2.0), Cosh(3.0, 4.0)]).smoothness
    Smoothness(H0=2.0, H1=4.0, f_star=0.0, rho=1.0)
    """
    return Scaled(Sum(parts), 1.0 / len(parts))


class Scaled(Problem):
    r"""$s f$ with $s > 0$: $(s H_0, s^{1-\rho} H_1)$, $s \mu$, the same minimisers.

    Args:
        problem: $f$.
        scale: $s$, more than 0.

    Source: derived.

    Example:

    >>> from keras_h0h1.theory.problems import Cosh
    >>> (5.0 * Cosh(1.0, 2.0)).smoothness
    Smoothness(H0=5.0, H1=2.0, f_star=0.0, rho=1.0)
    """

    def __init__(self, problem: Problem, scale: float) -> None:
        scale = check_number("scale", scale, low=0, strict=True)
        self.problem, self.scale = problem, scale
        convexity = problem.strong_convexity
        super().__init__(
            problem.name,
            problem.dimension,
            None if problem.smoothness is None else scale * problem.smoothness,
            minimum=None if problem.minimum is None else scale * problem.minimum,
            minimisers=problem.minimisers,
            mu=scale * problem.mu,
            theta=problem.theta,
            strong_convexity=None if convexity is None else scale * convexity,
        )

    def _value(self, xp, w):
        return self.scale * self.problem._value(xp, w)

    def _gradient(self, xp, w):
        return self.scale * self.problem._gradient(xp, w)

    def _hessian(self, xp, w):
        return self.scale * self.problem._hessian(xp, w)


class Shifted(Problem):
    r"""$f + c$ for a number $c$: the same constants above $f^* + c$.

    Args:
        problem: $f$.
        offset: $c$.

    Source: derived.

    Example:

    >>> from keras_h0h1.theory.problems import Cosh
    >>> (Cosh() + 2.0).f_star
    2.0
    """

    def __init__(self, problem: Problem, offset: float) -> None:
        self.problem, self.offset = problem, check_number("offset", offset)
        super().__init__(
            problem.name,
            problem.dimension,
            None if problem.smoothness is None else problem.smoothness + self.offset,
            minimum=None if problem.minimum is None else problem.minimum + self.offset,
            minimisers=problem.minimisers,
            mu=problem.mu,
            theta=problem.theta,
            strong_convexity=problem.strong_convexity,
        )

    def _value(self, xp, w):
        return self.problem._value(xp, w) + self.offset

    def _gradient(self, xp, w):
        return self.problem._gradient(xp, w)

    def _hessian(self, xp, w):
        return self.problem._hessian(xp, w)


class Affine(Problem):
    r"""$g(w) = f(Aw + b)$: $\|A\|^2 (H_0 + H_1 (g^* - f^*))$ and $\|A\|^2 H_1$.

    The ranges of $g$ and $f$ agree if $A$ has full row rank; then $g^* = f^*$. If $f$ is strongly
    convex with $m$, then $g$ is PL with $m \sigma^2$, $\sigma$ the smallest nonzero singular value.

    Args:
        problem: $f$, of dimension $k$.
        A: Array `(k, n)`.
        b: Array `(k,)`, or `None` for 0.

    Raises:
        ValueError: If the shapes do not fit.

    Source: derived.

    Example:

    >>> from keras_h0h1.theory.problems import Cosh
    >>> problem = Cosh(1.0, 2.0).affine([[3.0]], [6.0])
    >>> problem.smoothness, problem.minimisers
    (Smoothness(H0=9.0, H1=18.0, f_star=0.0, rho=1.0), array([[-2.]]))
    """

    def __init__(self, problem: Problem, A: ArrayLike, b: ArrayLike | None = None) -> None:
        A = np.asarray(A, dtype="float64")
        b = np.zeros(problem.dimension) if b is None else np.asarray(b, dtype="float64")
        if A.ndim != 2 or A.shape[0] != problem.dimension or b.shape != A.shape[:1]:
            raise ValueError(
                f"`A` must have shape ({problem.dimension}, n) and `b` shape "
                f"({problem.dimension},). Received: A.shape={A.shape}, b.shape={b.shape}"
            )
        self.problem, self.A, self.b = problem, A, b
        singular = np.linalg.svd(A, compute_uv=False)
        rank = int(np.sum(singular > 1e-12 * singular[0]))
        convexity = problem.strong_convexity
        injective = rank == A.shape[1]
        super().__init__(
            problem.name,
            A.shape[1],
            None if problem.smoothness is None else problem.smoothness.affine(float(singular[0])),
            minimum=problem.minimum if rank == A.shape[0] else None,
            mu=(convexity or 0.0) * float(singular[max(rank, 1) - 1]) ** 2,
            theta=problem.theta if rank == A.shape[0] else None,
            strong_convexity=convexity if convexity is None else 0.0,
        )
        if injective and convexity is not None:
            self.strong_convexity = self.mu
        if injective and rank == A.shape[0] and problem.minimisers is not None:
            self.minimisers = np.linalg.solve(A, (problem.minimisers - b).T).T
        _finish(self)

    def _map(self, xp, w):
        return matvec(self.A, w) + like(self.b, w)

    def _value(self, xp, w):
        return self.problem._value(xp, self._map(xp, w))

    def _gradient(self, xp, w):
        return matvec(self.A.T, self.problem._gradient(xp, self._map(xp, w)))

    def _hessian(self, xp, w):
        inner = self.problem._hessian(xp, self._map(xp, w))
        return xp.einsum("ki,...kl,lj->...ij", like(self.A, w), inner, like(self.A, w))


class Ridge(Problem):
    r"""$f(w) + \frac{s}{2} \|w\|^2$: $H_0 + s + H_1 (F^* - f^*)$ and $H_1$.

    Args:
        problem: $f$.
        strength: $s$, at least 0.

    Source: derived.

    Example:

    >>> from keras_h0h1.theory.problems import Cosh
    >>> Cosh(1.0, 2.0).ridge(0.5).smoothness
    Smoothness(H0=1.5, H1=2.0, f_star=0.0, rho=1.0)
    """

    def __init__(self, problem: Problem, strength: float) -> None:
        strength = check_number("strength", strength, low=0)
        self.problem, self.strength = problem, strength
        convexity = problem.strong_convexity
        super().__init__(
            f"{problem.name} + ridge",
            problem.dimension,
            None if problem.smoothness is None else problem.smoothness.ridge(strength),
            strong_convexity=None if convexity is None else convexity + strength,
        )
        if problem.minimisers is not None:
            at_zero = ~np.any(problem.minimisers, axis=-1)
            if np.any(at_zero):  # 0 minimises both terms, and alone
                self.minimisers, self.minimum = np.zeros((1, self.dimension)), problem.minimum
        _finish(self)

    def _value(self, xp, w):
        return self.problem._value(xp, w) + 0.5 * self.strength * xp.sum(w * w, axis=-1)

    def _gradient(self, xp, w):
        return self.problem._gradient(xp, w) + self.strength * w

    def _hessian(self, xp, w):
        eye = xp.eye(self.dimension, dtype=w.dtype)
        return self.problem._hessian(xp, w) + self.strength * eye


def _shared_minimisers(parts):
    """The points that minimise every part, or `None` if there is none or it is not known."""
    if any(part.minimisers is None or part.minimum is None for part in parts):
        return None
    shared = [
        point
        for point in parts[0].minimisers
        if all(np.min(part.distance(point)) <= 1e-12 for part in parts[1:])
    ]
    return np.array(shared) if shared else None


def _finish(problem: Problem) -> None:
    """Completes minimum, mu, theta and constants after the structure is known."""
    if problem.minimum is None and problem.strong_convexity:
        found = newton_minimum(problem)
        if found is not None:
            problem.minimisers, problem.minimum = found[0][None], found[1]
    problem.mu = max(problem.mu, problem.strong_convexity or 0.0)
    if problem.convex and problem.minimisers is not None:
        problem.theta = problem.theta or 1.0
    if problem.minimum is not None and problem.smoothness is not None:
        problem.smoothness = problem.smoothness.with_minimum(problem.minimum)
