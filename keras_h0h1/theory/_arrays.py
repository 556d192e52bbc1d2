"""One formula for NumPy arrays and for tensors of any backend.

`keras.ops` and NumPy share the names used in this package. NumPy arguments are computed in NumPy,
in float64 and without starting a backend; tensors keep their own dtype and can be compiled.
"""

import numpy as np
from keras import ops

from keras_h0h1._arrays import namespace
from keras_h0h1._types import ArrayLike, Numeric


def like(array: ArrayLike, reference: Numeric) -> Numeric:
    """`array` as a tensor (or NumPy array) of the dtype of `reference`."""
    if ops.is_tensor(reference):
        return ops.convert_to_tensor(array, dtype=reference.dtype)
    return np.asarray(array, dtype=reference.dtype)


def norm(vector: Numeric) -> Numeric:
    """The Euclidean norm over the last axis."""
    xp = namespace(vector)
    return xp.sqrt(xp.sum(vector * vector, axis=-1))


def to_numpy(array: ArrayLike) -> np.ndarray:
    """A float64 NumPy copy, from a tensor of any backend or an array."""
    return np.asarray(ops.convert_to_numpy(array), dtype="float64")


# Outside TensorFlow, `keras.ops` computes sinh, cosh, tanh, logaddexp, mean and, on PyTorch, matmul
# in float32 even for float64 arguments (Keras 3.15). These are made of operations that keep the
# precision of their arguments, and of expm1 and log1p, which keep the digits near 0.


def sinh(z: Numeric) -> Numeric:
    """The hyperbolic sine."""
    xp = namespace(z)
    size = xp.abs(z)
    return 0.5 * xp.sign(z) * (xp.expm1(size) - xp.expm1(-size))


def cosh(z: Numeric) -> Numeric:
    """The hyperbolic cosine."""
    xp = namespace(z)
    return 0.5 * (xp.exp(z) + xp.exp(-z))


def tanh(z: Numeric) -> Numeric:
    """The hyperbolic tangent; no exponential of a positive number, so no overflow."""
    xp = namespace(z)
    decay = xp.expm1(-2.0 * xp.abs(z))
    return -xp.sign(z) * decay / (2.0 + decay)


def sigmoid(z: Numeric) -> Numeric:
    """1 / (1 + e^-z), with its digits where it is close to 0."""
    xp = namespace(z)
    decay = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, xp.ones_like(z), decay) / (1.0 + decay)


def softplus(z: Numeric) -> Numeric:
    """log(1 + e^z), without overflow and with its digits for very negative z."""
    xp = namespace(z)
    size = xp.abs(z)
    return 0.5 * (z + size) + xp.log1p(xp.exp(-size))


def matvec(matrix: ArrayLike, vectors: Numeric) -> Numeric:
    """`matrix @ v` for each `v` on the last axis of `vectors`."""
    return namespace(vectors).einsum("ij,...j->...i", like(matrix, vectors), vectors)
