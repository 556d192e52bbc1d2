"""Small models and NumPy truths that several tests share."""

import keras
import numpy as np

from keras_h0h1.curvature import Objective


def host(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def dense_matrix(operator):
    """The whole matrix, one product a column."""
    columns = [host(operator.matvec(operator.vector(e))) for e in np.eye(operator.size)]
    return np.stack(columns, axis=1)


def objective(*args, **kwargs):
    """An `Objective` without XLA on TensorFlow, where compiling takes most of a test's time.

    `test_compiles_once` and the probe's tests run with XLA.
    """
    if keras.backend.backend() == "tensorflow":
        kwargs.setdefault("jit_compile", False)
    return Objective(*args, **kwargs)


class Function(keras.Model):
    """`f(w)` as a model: one variable `w`, the output is the value for each example."""

    def __init__(self, function, start):
        super().__init__()
        self.function = function
        self.w = self.add_weight(shape=np.shape(start), initializer="zeros", name="w")
        self.w.assign(start)
        self.built = True

    def call(self, x):
        return self.function(self.w) + 0.0 * x


ONE = (np.zeros((1, 1), "float32"), np.zeros((1, 1), "float32"))


def value(y, y_pred):
    return y_pred


def softmax_regression(X, W, b):
    """Hessian of the mean cross-entropy in NumPy float64, weights in the order (kernel, bias)."""
    logits = X @ W + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    size, classes = W.size + b.size, len(b)
    hessian = np.zeros((size, size))
    for x, q in zip(X, p, strict=True):
        jacobian = np.concatenate([np.kron(x, np.eye(classes)), np.eye(classes)], axis=1)
        hessian += jacobian.T @ (np.diag(q) - np.outer(q, q)) @ jacobian
    return hessian / len(X)
