"""Compilation of a loop, the one thing here that each backend does in its own way."""

from collections.abc import Callable
from typing import Any

import keras


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of tensors, compiled on TensorFlow and JAX.

    PyTorch runs it as it is: `keras.ops.while_loop` is a Python loop there.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        # XLA: half a million steps of a two-dimensional problem take a second, not a minute.
        graph = tf.function(function, jit_compile=True, autograph=False)
        # Called through its concrete function, because one loop for each problem is what is
        # wanted here and would count as needless retracing.
        return lambda *tensors: graph.get_concrete_function(*tensors)(*tensors)
    return function
