"""Weight matrices in one flat vector, and the bound that deep networks share."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from keras_h0h1._types import ArrayLike, Numeric
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.theory._guards import require
from keras_h0h1.theory.smoothness import Smoothness


def product(xp: Any, *matrices: Numeric) -> Numeric:
    """The matrix product, of batches of matrices `(..., a, b)`, left to right."""
    result = matrices[0]
    for matrix in matrices[1:]:
        result = xp.einsum("...ij,...jk->...ik", result, matrix)
    return result


def transposed_product(xp: Any, left: Numeric, right: Numeric) -> Numeric:
    """The products left^T right of batches of matrices."""
    return xp.einsum("...ji,...jk->...ik", left, right)


class Layers:
    """The matrices of a network, row by row and first layer first, in a vector.

    Args:
        widths: The number of inputs, of each layer's outputs, the last being the network's.
    """

    def __init__(self, widths: Iterable[int]) -> None:
        self.widths = tuple(check_integer("widths", width, low=1) for width in widths)
        self.shapes = list(zip(self.widths[1:], self.widths[:-1], strict=True))
        self.sizes = [rows * columns for rows, columns in self.shapes]
        self.dimension, self.depth = sum(self.sizes), len(self.shapes)

    def split(self, xp: Any, w: Numeric) -> list[Numeric]:
        """The matrices `(..., d_i, d_(i-1))` of points `(..., n)`."""
        matrices, start = [], 0
        for shape, size in zip(self.shapes, self.sizes, strict=True):
            matrices.append(xp.reshape(w[..., start : start + size], (*w.shape[:-1], *shape)))
            start += size
        return matrices

    def join(self, xp: Any, matrices: Iterable[Numeric]) -> Numeric:
        """The points `(..., n)` of matrices; the inverse of `split`."""
        flat = [
            xp.reshape(matrix, (*matrix.shape[:-2], size))
            for matrix, size in zip(matrices, self.sizes, strict=True)
        ]
        return xp.concatenate(flat, axis=-1)

    def assemble(self, xp: Any, blocks: Mapping[tuple[int, int], Numeric]) -> Numeric:
        """The symmetric matrix whose blocks (i, j), i <= j, are `(..., b, c, d, e)`.

        Entry `[b, c, d, e]` belongs to `W_i[b, c]` and `W_j[d, e]`.
        """
        rows = []
        for i in range(self.depth):
            row = []
            for j in range(self.depth):
                block = blocks[min(i, j), max(i, j)]
                sizes = self.sizes[min(i, j)], self.sizes[max(i, j)]
                block = xp.reshape(block, (*block.shape[:-4], *sizes))
                row.append(block if i <= j else xp.swapaxes(block, -1, -2))
            rows.append(xp.concatenate(row, axis=-1))
        return xp.concatenate(rows, axis=-2)


def identity(xp: Any, size: int, w: Numeric) -> Numeric:
    """One identity matrix for each point of `w`."""
    return xp.eye(size, dtype=w.dtype) + xp.zeros_like(w[..., :1, None])


def data_matrices(X: ArrayLike, Y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """`X` and `Y` as float64, checked to be two matrices with a column for each sample."""
    X, Y = np.asarray(X, dtype="float64"), np.asarray(Y, dtype="float64")
    fits = X.ndim == Y.ndim == 2 and X.shape[1] == Y.shape[1] and X.size and Y.size
    if not fits or not (np.all(np.isfinite(X)) and np.all(np.isfinite(Y))):
        raise ValueError(
            "`X` and `Y` must be finite matrices with one column for each sample. "
            f"Received: X.shape={X.shape}, Y.shape={Y.shape}"
        )
    return X, Y


def quadratic_loss(xp: Any, residual: Numeric) -> Numeric:
    """Half of the squared Frobenius norm."""
    return 0.5 * xp.sum(xp.sum(residual * residual, axis=-1), axis=-1)


@dataclasses.dataclass(frozen=True)
class DepthBound:
    r"""A bound on the curvature of a network of $L$ layers as a function of the gap.

    $$h(\Delta) = L c^2 S^{L-1} + (L-1) c \sqrt{2\Delta} S^{(L-2)/2}, \qquad
    S = (a + b \sqrt{2\Delta})^{2/L} + d.$$

    $S$ bounds the square of every layer's spectral norm, $c$ is the size of the data. The first
    term is the squared Jacobian, the second the residual times the second derivative of the
    outputs. $h$ is nondecreasing, and concave in $\Delta^\rho$ for every $\rho \ge 1 - 1/L$ (the
    proof is in docs/theory.md), so that each of its tangents is a bound too.

    Args:
        depth: $L$, at least 2.
        size: $c$.
        offset: $a$, a bound on the product of the layers' norms at a gap of 0.
        slope: $b$, how fast that grows with the residual.
        slack: $d$, from the imbalance of the layers.
    """

    depth: int
    size: float
    offset: float
    slope: float
    slack: float

    def __call__(self, gap: Numeric) -> Numeric:
        """$h$ at a gap or an array of gaps."""
        L, r = self.depth, np.sqrt(2.0 * np.maximum(gap, 0.0))
        S = (self.offset + self.slope * r) ** (2 / L) + self.slack
        return L * self.size**2 * S ** (L - 1) + (L - 1) * self.size * r * S ** (L / 2 - 1)

    def derivative(self, gap: float) -> float:
        """The derivative of $h$ at a gap above 0."""
        L, r = self.depth, math.sqrt(2.0 * gap)
        p = self.offset + self.slope * r
        S, rise = p ** (2 / L) + self.slack, 2 / L * p ** (2 / L - 1) * self.slope
        jacobian = L * self.size**2 * (L - 1) * S ** (L - 2) * rise
        residual = S ** (L / 2 - 1) + r * (L / 2 - 1) * S ** (L / 2 - 2) * rise
        return (jacobian + (L - 1) * self.size * residual) / r

    def tangent(self, level: float, rho: float, f_star: float) -> Smoothness:
        """The constants of the tangent of h, as a function of gap^rho, at the gap `level`."""
        level = check_number("level", level, low=0, strict=True)
        lowest = 1.0 - 1.0 / self.depth
        holds = rho >= lowest * (1 - 1e-12)
        require("rho_at_least_1_minus_1_over_L", holds, "rho >= 1 - 1/L", rho=rho)
        growth = self.derivative(level) * level ** (1.0 - rho) / rho
        return Smoothness(max(float(self(level)) - growth * level**rho, 0.0), growth, f_star, rho)
