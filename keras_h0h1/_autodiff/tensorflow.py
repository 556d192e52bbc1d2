"""TensorFlow: backward twice; its forward mode has no rule for loops (LSTM, GRU)."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import nn as keras_nn

from keras_h0h1._autodiff.attention import twice_differentiable
from keras_h0h1._types import ArrayLike, Function, Tensor


def _moments(x, axes, keepdims):
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axes, keepdims=keepdims)
    return mean if keepdims else tf.squeeze(mean, axes), variance


@contextlib.contextmanager
def _differentiable():
    # `tf.nn.moments` stops the gradient at the mean inside the variance. The first derivative
    # is right all the same, the second is wrong, silently: LayerNormalization,
    # GroupNormalization, BatchNormalization in training. While a product is traced, Keras
    # gets the plain formula.
    original = keras_nn._compute_moments
    keras_nn._compute_moments = _moments
    try:
        with twice_differentiable():
            yield
    finally:
        keras_nn._compute_moments = original


def _dense(gradients):
    # Embedding gradients come as IndexedSlices.
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def value_and_grad(fn: Function, primals: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    with tf.GradientTape() as tape:
        tape.watch(primals)
        value = fn(primals)
    return value, _dense(tape.gradient(value, primals, unconnected_gradients="zero"))


def _jvp(fn, primals, tangents):
    # jvp(fn) = d/du (vjp(fn)(u) . t): linear in u, so any u serves.
    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            tape.watch(primals)
            outputs = fn(primals)
        dummies = [tf.zeros_like(output) for output in outputs]
        outer.watch(dummies)
        pulled = _dense(
            tape.gradient(outputs, primals, output_gradients=dummies, unconnected_gradients="zero")
        )
    jvp = outer.gradient(pulled, dummies, tangents, unconnected_gradients="zero")
    return outputs, _dense(jvp)


def _hvp_backward_twice(fn, primals, tangents):
    with tf.GradientTape() as outer:
        outer.watch(primals)
        _, gradients = value_and_grad(fn, primals)
    return _dense(outer.gradient(gradients, primals, tangents, unconnected_gradients="zero"))


def hvp(fn: Function, primals: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    with _differentiable():
        return _hvp_backward_twice(fn, primals, tangents)


def gnvp(
    inner: Function, outer: Function, primals: list[Tensor], tangents: list[Tensor]
) -> list[Tensor]:
    with _differentiable(), tf.GradientTape() as tape:
        tape.watch(primals)
        outputs, pushed = _jvp(inner, primals, tangents)
    curved = _hvp_backward_twice(outer, outputs, pushed)
    return _dense(
        tape.gradient(outputs, primals, output_gradients=curved, unconnected_gradients="zero")
    )


def compile(
    fn: Function,
    on_compile: Callable[[], None],
    jit_compile: bool | str = "auto",
    second_order: bool = False,
) -> Callable[..., Any]:
    # A second derivative takes XLA minutes to compile on some models, and does not exist for
    # some of its operations (XlaDynamicUpdateSlice in KerasHub's GPT-2).
    if jit_compile == "auto":
        xla_choices = [False] if second_order else [True, False]
    else:
        xla_choices = [bool(jit_compile)]

    def traced(*args):
        on_compile()
        return fn(*args)

    functions = [tf.function(traced, jit_compile=xla, autograph=False) for xla in xla_choices]

    def call(*args):
        try:
            return functions[0](*args)
        except (tf.errors.OpError, LookupError, NotImplementedError, ValueError):
            # An operation that XLA cannot compile: from now on, without it.
            if len(functions) == 1:
                raise
            functions.pop(0)
            return functions[0](*args)

    return call


def read(variable: keras.Variable) -> Tensor:
    return tf.convert_to_tensor(variable.value)


def copy(tensor: Tensor) -> Tensor:
    return tf.identity(tensor)


def device_array(array: ArrayLike) -> Tensor:
    return tf.convert_to_tensor(array)


def without(vector: Tensor, direction: Tensor) -> Tensor:
    return vector - tf.tensordot(direction, vector, 1) * direction


def dot(a: Tensor, b: Tensor) -> Tensor:
    return tf.reduce_sum(a * b)


def wait(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors[:1]:
        tensor.numpy()
