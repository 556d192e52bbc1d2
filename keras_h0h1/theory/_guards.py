"""Guards: the conditions under which a bound is proved."""

import numpy as np

from keras_h0h1._types import Numeric
from keras_h0h1.theory.smoothness import Smoothness


class GuardError(ValueError):
    """A bound was asked for outside the conditions under which it is proved.

    Attributes:
        guard: The name of the condition that failed.
    """

    def __init__(self, guard: str, statement: str, **received: object) -> None:
        self.guard = guard
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        super().__init__(
            f"The bound is proved only for {statement} (guard {guard!r} failed). Received: {values}"
        )


def require(guard: str, holds: Numeric, statement: str, **received: object) -> None:
    """Raises `GuardError` unless the condition holds, for arrays everywhere.

    Example:

    >>> require("gap_positive", 2.0 > 0, "gap > 0", gap=2.0)
    """
    # `not all` rather than `any not`: NaN fails every comparison and must fail the guard too.
    if not np.all(holds):
        raise GuardError(guard, statement, **received)


def require_positive(**values: Numeric) -> None:
    """All of the values are finite and above 0.

    Example:

    >>> require_positive(gap=2.0, mu=0.1)
    """
    for name, value in values.items():
        holds = np.greater(value, 0) & np.isfinite(value)
        require(f"{name}_positive", holds, f"finite {name} > 0", **{name: value})


def require_affine(smoothness: Smoothness) -> None:
    """The smoothness has exponent 1.

    Example:

    >>> require_affine(Smoothness(1.0, 2.0))
    """
    require("rho_is_1", smoothness.rho == 1.0, "rho = 1", rho=smoothness.rho)


def require_pl(smoothness: Smoothness, mu: float, gap: float, epsilon: float) -> None:
    """The arguments of a bound under the Polyak-Lojasiewicz inequality fit together.

    Example:

    >>> require_pl(Smoothness(1.0, 2.0), mu=0.1, gap=2.0, epsilon=1e-3)
    """
    require_positive(mu=mu, gap=gap, epsilon=epsilon)
    # Near the minimum 2 mu gap <= |gradient|^2 <= 2 H0 gap: no function has mu above H0.
    holds = mu <= smoothness.H0 * (1 + 1e-12)
    require("mu_at_most_H0", holds, "mu <= H0", mu=mu, H0=smoothness.H0)
    require("epsilon_at_most_gap", epsilon <= gap, "epsilon <= gap", epsilon=epsilon, gap=gap)
