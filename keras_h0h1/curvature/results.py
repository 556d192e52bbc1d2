"""The records that every measurement returns."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Measurement:
    r"""What was measured, how well, and at what cost.

    Attributes:
        value: The estimate: a float, or a NumPy array (one entry an eigenvalue, best first).
        residual: Its error in the same unit and shape: $\|Hv - \lambda v\|$ for an eigenvalue
            (some eigenvalue of a symmetric $H$ lies that close), the standard error for a random
            estimate, the round-off for a difference of gradients.
        iterations: Number of operator products, or of gradients.
        converged: Whether the residual met the tolerance asked for.
        seconds: Wall time, compilation included where this call was the first.
        vectors: The eigenvectors where they were asked for, one a row, else `None`.
    """

    value: Any
    residual: Any
    iterations: int
    converged: bool
    seconds: float
    vectors: Any = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class Spectrum(Measurement):
    """A spectral density: `value[i]` is the density at `grid[i]`.

    Attributes:
        grid: Eigenvalues at which the density is given, shape `(points,)`.
        nodes: Ritz values of every probe, shape `(probes * steps,)`.
        weights: Their weights, which sum to 1.
    """

    grid: Any = dataclasses.field(default=None, repr=False)
    nodes: Any = dataclasses.field(default=None, repr=False)
    weights: Any = dataclasses.field(default=None, repr=False)

    def moment(self, order: int) -> float:
        """Mean of the eigenvalues' `order`-th power (times the size: the trace of $H^{order}$)."""
        return float(np.sum(self.weights * self.nodes**order))
