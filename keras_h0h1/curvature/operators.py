"""A symmetric matrix known by its products with vectors."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_h0h1 import _autodiff
from keras_h0h1._types import ArrayLike, Tensor


@dataclasses.dataclass(frozen=True)
class Operator:
    """A symmetric linear operator on flat vectors.

    `lanczos`, `power_iteration`, `trace` and `spectral_density` take it. They work in NumPy for a
    matrix and on the device for a network's Hessian, where only scalars come back to the host.

    Args:
        size: Dimension of the vectors.
        matvec: Function from a vector of shape `(size,)` to one of the same shape and dtype.
        dtype: The vectors' dtype, `"float32"` or `"float64"`.
        numpy: Whether vectors are NumPy arrays (else tensors of the active backend).

    Example:

    >>> A = Operator.from_matrix([[2.0, 0.0], [0.0, 5.0]])
    >>> A.matvec(A.vector([1.0, 1.0]))
    array([2., 5.])
    """

    size: int
    matvec: Callable[[Any], Any]
    dtype: str = "float32"
    numpy: bool = False

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> "Operator":
        """The operator of a symmetric NumPy matrix, in float64."""
        matrix = np.asarray(matrix, dtype="float64")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"`matrix` must be square. Received: shape={matrix.shape}")
        return cls(len(matrix), lambda vector: matrix @ vector, "float64", numpy=True)

    def vector(self, array: ArrayLike) -> Tensor:
        """A host array as a vector of this operator."""
        array = np.asarray(array, dtype=self.dtype)
        return array if self.numpy else _autodiff.device_array(array)

    def normal(self, rng: np.random.Generator) -> Tensor:
        """A standard normal vector; NumPy's generator, so no Keras seed moves."""
        return self.vector(rng.standard_normal(self.size, dtype="float32"))

    def rademacher(self, rng: np.random.Generator) -> Tensor:
        """A vector of independent signs."""
        return self.vector(2 * rng.integers(0, 2, self.size, dtype="int8") - 1)

    def dot(self, a: Tensor, b: Tensor) -> float:
        """The inner product, as a Python float."""
        return float(a @ b if self.numpy else _autodiff.dot(a, b))

    def norm(self, a: Tensor) -> float:
        """The Euclidean norm, as a Python float."""
        return self.dot(a, a) ** 0.5

    def scaled(self, scale: Tensor) -> "Operator":
        """$D A D$ with the diagonal `D = diag(scale)`: a change of variables, or a 0/1 mask."""
        return dataclasses.replace(self, matvec=lambda v: scale * self.matvec(scale * v))

    def orthogonalise(self, vector: Tensor, basis: Sequence[Tensor], passes: int = 2) -> Tensor:
        """`vector` minus its part in the span of the orthonormal `basis`.

        One pass leaves an error of the size of the part removed times the round-off; a second
        one is always enough (Kahan and Parlett).
        """
        for _ in range(passes):
            for q in basis:
                vector = vector - (q @ vector) * q if self.numpy else _autodiff.without(vector, q)
        return vector
