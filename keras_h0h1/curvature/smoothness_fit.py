r"""The record of a fit, and the error where there is none."""

import dataclasses

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1.step_sizes import curvature_bound


class NotIdentifiedError(ValueError):
    """The data cannot tell the constants; the message says why and what to do."""


# The name until version 0.1.0.
NotIdentified = NotIdentifiedError


@dataclasses.dataclass(frozen=True)
class SmoothnessFit:
    r"""What `fit_smoothness` found: $\text{curvature} \approx H_0 + H_1 \Delta^\rho$.

    Attributes:
        H0: Least-squares estimate, at least 0.
        H1: Least-squares estimate, at least 0.
        rho: The exponent, given or fitted.
        f_star: The loss's infimum, given or fitted.
        H0_interval: `(low, high)`.
        H1_interval: `(low, high)`. Both intervals hold *together* with probability `confidence`.
        rho_interval: `(low, high)` where `rho` was fitted, else both equal to it.
        H0_upper: With `H1_upper`, the lowest line above every point used: constants that the
            measured part of the run obeyed throughout.
        H1_upper: See `H0_upper`.
        r_squared: Share of the curvature's variance that the fit explains.
        valid_range: `(low, high)`: losses over which the curvature fell with the loss, and from
            which the fit was made. Below `low` it rose again (progressive sharpening).
        points: Number of points used.
        points_outside: Number of points below the range.
        violations: Share of the points outside that lie above the upper envelope.
        confidence: The intervals' joint confidence.
        note: Empty, or what speaks against the form: the curvature did not grow with the loss, or
            grew so fast that `H0 = 0` and this `f_star` and `rho` do not describe it.
    """

    H0: float
    H1: float
    rho: float
    f_star: float
    H0_interval: tuple[float, float]
    H1_interval: tuple[float, float]
    rho_interval: tuple[float, float]
    H0_upper: float
    H1_upper: float
    r_squared: float
    valid_range: tuple[float, float]
    points: int
    points_outside: int
    violations: float
    confidence: float
    note: str

    @property
    def C(self) -> float:
        r"""The practical rule's constant, $(H_0 / H_1)^{1/\rho}$.

        With a peak rate of $1/H_0$ the practical rule then follows $1/(H_0 + H_1 \Delta^\rho)$
        within a factor of 2. Infinite where the curvature did not grow with the loss.
        """
        return (self.H0 / self.H1) ** (1.0 / self.rho) if self.H1 > 0 else float("inf")

    @property
    def adaptive_gd(self) -> dict[str, float]:
        """Arguments for `AdaptiveGD`: the upper envelope's constants."""
        return {
            "H0": self.H0_upper,
            "H1": self.H1_upper,
            "f_star": self.f_star,
            "rho": self.rho,
        }

    def curvature(self, loss: ArrayLike) -> np.ndarray:
        """The fitted curvature at a loss."""
        return curvature_bound(np.asarray(loss, "float64"), self.H0, self.H1, self.f_star, self.rho)

    def upper(self, loss: ArrayLike) -> np.ndarray:
        """The upper envelope at a loss."""
        return curvature_bound(
            np.asarray(loss, "float64"), self.H0_upper, self.H1_upper, self.f_star, self.rho
        )
