"""Value and dense Hessian of a scalar function of one vector, by each backend's own derivatives."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_h0h1._types import ArrayLike, Numeric


def value_and_hessian(
    function: Callable[[Any], Any],
) -> Callable[[Numeric], tuple[np.ndarray, np.ndarray]]:
    """A function of a NumPy vector that returns `(value, hessian)` as NumPy float64.

    Args:
        function: Takes a tensor `(n,)` of the active backend, returns a scalar tensor, and is made
            of operations that the backend can differentiate twice.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        derivatives = jax.jit(lambda w: (function(w), jax.hessian(function)(w)))
    elif backend == "tensorflow":
        import tensorflow as tf

        @tf.function(autograph=False)
        def derivatives(w):
            with tf.GradientTape() as outer:
                outer.watch(w)
                with tf.GradientTape() as inner:
                    inner.watch(w)
                    value = function(w)
                gradient = inner.gradient(value, w)
            # Not vectorised: `pfor` cannot convert every operation that a model may hold.
            return value, outer.jacobian(gradient, w, experimental_use_pfor=False)
    else:
        import torch

        def derivatives(w):
            return function(w), torch.autograd.functional.hessian(function, w)

    def evaluate(w):
        w = ops.convert_to_tensor(w, dtype=keras.config.floatx())
        value, hessian = derivatives(w)
        as_numpy = [ops.convert_to_numpy(ops.stop_gradient(part)) for part in (value, hessian)]
        return tuple(np.asarray(part, dtype="float64") for part in as_numpy)

    return evaluate


def model_function(
    model: keras.Model, loss: str | keras.losses.Loss, x: ArrayLike, y: ArrayLike
) -> tuple[Callable[[Any], Any], np.ndarray]:
    """The model's loss on `(x, y)`, regularisers included, as a function of its flat weights.

    The forward pass is `stateless_call` with `training=False`: the model is not changed.

    Returns:
        `(function, weights)` where `weights` are the present ones, a flat NumPy vector.
    """
    loss = keras.losses.get(loss)
    variables = model.trainable_variables
    shapes = [tuple(variable.shape) for variable in variables]
    sizes = [int(np.prod(shape)) for shape in shapes]
    fixed = [variable.value for variable in model.non_trainable_variables]
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)

    def function(w):
        parts, start = [], 0
        for variable, shape, size in zip(variables, shapes, sizes, strict=True):
            part = ops.reshape(w[start : start + size], shape)
            parts.append(ops.cast(part, variable.dtype))
            start += size
        outputs, _, losses = model.stateless_call(
            parts, fixed, x, training=False, return_losses=True
        )
        total = ops.mean(loss(y, outputs))
        return ops.cast(sum(losses, total), w.dtype)

    weights = [ops.convert_to_numpy(variable.value).ravel() for variable in variables]
    return function, np.concatenate(weights).astype("float64")
