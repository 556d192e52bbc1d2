"""The constants of a function, and their arithmetic (closure rules)."""

import dataclasses

import numpy as np

from keras_h0h1 import step_sizes
from keras_h0h1._types import Numeric
from keras_h0h1._validation import check_number

_OMEGA = 0.5671432904097838  # the solution of x = exp(-x)


@dataclasses.dataclass(frozen=True)
class Smoothness:
    r"""Constants $(H_0, H_1, \rho)$ above a level $f^*$, with the arithmetic of their closure.

    States that for every $w$

    $$\|\nabla^2 f(w)\| \le H_0 + H_1 (f(w) - f^*)^\rho, \qquad f(w) \ge f^*.$$

    `f_star` may be *any* lower bound on $f$: a statement above a lower level is as true as one
    above the infimum, and the arithmetic needs no more. Once the infimum $F^*$ of the result is
    known, `with_minimum(F_star)` states the same fact above it, at the price of a larger
    $H_0 + H_1 (F^* - f^*)^\rho$. This is why adding the constants of two functions is wrong
    unless they share a minimiser.

    | operation | $H_0$ | $H_1$ | $f^*$ |
    |---|---|---|---|
    | `a + b` | $H_0^a + H_0^b$ | $\max(H_1^a, H_1^b)$ | $f^*_a + f^*_b$ |
    | `s * a`, s > 0 | $s H_0$ | $s^{1-\rho} H_1$ | $s f^*$ |
    | `a + c`, a number | $H_0$ | $H_1$ | $f^* + c$ |
    | `a.affine(L)`, $L = \|A\|$ | $L^2 H_0$ | $L^2 H_1$ | $f^*$ |
    | `a.ridge(s)` | $H_0 + s$ | $H_1$ | $f^*$ |

    For $\rho < 1$ the sum's $H_1$ is $(\sum_i H_{1,i}^{1/(1-\rho)})^{1-\rho}$ (Hölder's
    inequality), which tends to the maximum as $\rho \to 1$; for $\rho \ge 1$ it is the maximum.

    Args:
        H0: Bound on the curvature at the level `f_star`; at least 0.
        H1: Growth of the bound with the gap; at least 0.
        f_star: A lower bound on the function; its infimum where that is known.
        rho: The exponent; more than 0. The default, 1, is $(H_0, H_1)$-smoothness.

    Raises:
        TypeError: If an argument is not a number, or two different `rho` are added.
        ValueError: If a constant is negative or not finite.

    Source: definition by Alimisis, Islamov and Lucchi, *Why Do We Need Warm-up? A Theoretical
    Perspective*, arXiv 2510.03164; the closure rules follow from the triangle inequality and
    are checked numerically in the tests; use them rather than those printed.

    Example: $\cosh(w - 1) + \cosh(w + 1) - 2$ has the minimum $2 \cosh 1 - 2$, and exactly
    $2 \cosh 1$ for its second derivative there.

    >>> import numpy as np
    >>> total = Smoothness(1.0, 1.0) + Smoothness(1.0, 1.0)
    >>> total
    Smoothness(H0=2.0, H1=1.0, f_star=0.0, rho=1.0)
    >>> round(total.with_minimum(2 * np.cosh(1.0) - 2).H0, 6), round(float(2 * np.cosh(1.0)), 6)
    (3.086161, 3.086161)
    """

    H0: float
    H1: float
    f_star: float = 0.0
    rho: float = 1.0

    def __post_init__(self) -> None:
        for name, low, strict in (("H0", 0, False), ("H1", 0, False), ("rho", 0, True)):
            number = check_number(name, getattr(self, name), low=low, strict=strict)
            object.__setattr__(self, name, number)
        object.__setattr__(self, "f_star", check_number("f_star", self.f_star))

    @classmethod
    def from_l0_l1(cls, L0: float, L1: float, f_star: float = 0.0) -> "Smoothness":
        r"""The constants that follow from $\|\nabla^2 f\| \le L_0 + L_1 \|\nabla f\|$.

        $H_0 = 1.5 L_0$ and $H_1 = 3 L_1^2 / \nu$, where $\nu = e^{-\nu} \approx 0.567143$.

        >>> Smoothness.from_l0_l1(2.0, 0.0).H0
        3.0
        """
        check_number("L0", L0, low=0)
        check_number("L1", L1, low=0)
        return cls(1.5 * L0, 3.0 * L1**2 / _OMEGA, f_star)

    def bound(self, loss: Numeric) -> Numeric:
        r"""$H_0 + H_1 (f - f^*)^\rho$ at a loss or an array of losses."""
        return step_sizes.curvature_bound(loss, self.H0, self.H1, self.f_star, self.rho)

    def with_minimum(self, F_star: float) -> "Smoothness":
        r"""The same statement above the infimum `F_star`, which may not be below `f_star`.

        For $\rho > 1$ the constants use $(a + b)^\rho \le 2^{\rho - 1} (a^\rho + b^\rho)$.
        """
        F_star = check_number("F_star", F_star)
        rise = F_star - self.f_star
        # A numerically computed minimum may fall below its bound by rounding alone.
        if rise < -1e-9 * max(1.0, abs(self.f_star)):
            raise ValueError(
                f"The infimum cannot be below the lower bound f_star={self.f_star!r}. "
                f"Received: F_star={F_star!r}"
            )
        growth = self.H1 * 2.0 ** max(self.rho - 1.0, 0.0)
        H0 = self.H0 + growth * max(rise, 0.0) ** self.rho
        return dataclasses.replace(self, H0=H0, H1=growth if rise > 0 else self.H1, f_star=F_star)

    def affine(self, operator_norm: float) -> "Smoothness":
        r"""The constants of $w \mapsto f(Aw + b)$, from $\|A\|$."""
        square = check_number("operator_norm", operator_norm, low=0) ** 2
        return dataclasses.replace(self, H0=square * self.H0, H1=square * self.H1)

    def ridge(self, strength: float) -> "Smoothness":
        r"""The constants of $f(w) + \frac{s}{2} \|w\|^2$."""
        strength = check_number("strength", strength, low=0)
        return dataclasses.replace(self, H0=self.H0 + strength)

    def __add__(self, other: "Smoothness | float") -> "Smoothness":
        if not isinstance(other, Smoothness):
            return dataclasses.replace(self, f_star=self.f_star + check_number("other", other))
        if other.rho != self.rho:
            raise TypeError(
                "Only constants with the same rho can be added. "
                f"Received: rho={self.rho!r} and rho={other.rho!r}"
            )
        return total([self, other])

    __radd__ = __add__

    def __mul__(self, scale: float) -> "Smoothness":
        scale = check_number("scale", scale, low=0, strict=True)
        return Smoothness(
            scale * self.H0, scale ** (1.0 - self.rho) * self.H1, scale * self.f_star, self.rho
        )

    __rmul__ = __mul__


def total(parts: list[Smoothness]) -> Smoothness:
    """The constants of a sum of functions, above the sum of their levels.

    >>> total([Smoothness(1.0, 3.0), Smoothness(2.0, 1.0, f_star=0.5)])
    Smoothness(H0=3.0, H1=3.0, f_star=0.5, rho=1.0)
    """
    if not parts or any(part.rho != parts[0].rho for part in parts):
        raise TypeError(
            "A sum needs at least one term, all with the same rho. "
            f"Received: rho={[part.rho for part in parts]!r}"
        )
    rho = parts[0].rho
    H1 = np.array([part.H1 for part in parts])
    # The maximum is divided out, so that large exponents (rho near 1) cannot overflow.
    largest = float(H1.max())
    if rho < 1 and largest > 0:
        largest *= float(np.sum((H1 / largest) ** (1 / (1 - rho))) ** (1 - rho))
    return Smoothness(
        sum(part.H0 for part in parts), largest, sum(part.f_star for part in parts), rho
    )


def mean(parts: list[Smoothness]) -> Smoothness:
    r"""The constants of a mean: $H_0 = \frac1n \sum H_0^i$, $H_1 = \max H_1^i$ (for $\rho = 1$).

    >>> mean([Smoothness(1.0, 3.0), Smoothness(3.0, 1.0)])
    Smoothness(H0=2.0, H1=3.0, f_star=0.0, rho=1.0)
    """
    return (1.0 / len(parts)) * total(parts)
