"""JAX: forward over reverse, one extra forward pass and no second tape in memory."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src.backend.jax import nn as keras_nn

from keras_h0h1._autodiff.attention import twice_differentiable
from keras_h0h1._types import ArrayLike, Function, Tensor


def _double_attention(query, key, value, bias, mask, scale, is_causal):
    groups = query.shape[2] // key.shape[2]
    key, value = jnp.repeat(key, groups, axis=2), jnp.repeat(value, groups, axis=2)
    logits = jnp.einsum("btnh,bsnh->bnts", query, key)
    logits = logits * (query.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        logits = logits + bias
    hidden = -0.7 * np.finfo("float32").max  # Finite, as in JAX: a row may be masked whole.
    if mask is not None:
        logits = jnp.where(mask, logits, hidden)
    if is_causal:
        logits = jnp.where(jnp.tril(jnp.ones(logits.shape[-2:], bool)), logits, hidden)
    return jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(logits), value)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    # `jax.nn.dot_product_attention` takes its softmax in float32 whatever it is given: in a
    # float64 model gradients then have errors of 1e-7, and their differences far larger ones.
    # While an objective is traced, float64 attention is the plain formula in float64. Any
    # other dtype goes Keras' own way, and so does the training step, which is not traced here.
    original = keras_nn.dot_product_attention

    def attention(
        query,
        key,
        value,
        bias=None,
        mask=None,
        scale=None,
        is_causal=False,
        flash_attention=None,
        **options,
    ):
        double = all(tensor.dtype == np.float64 for tensor in (query, key, value))
        if double and not flash_attention:
            return _double_attention(query, key, value, bias, mask, scale, is_causal)
        return original(query, key, value, bias, mask, scale, is_causal, flash_attention, **options)

    keras_nn.dot_product_attention = attention
    try:
        yield
    finally:
        keras_nn.dot_product_attention = original


def value_and_grad(fn: Function, primals: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    return jax.value_and_grad(fn)(primals)


def hvp(fn: Function, primals: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    with twice_differentiable():
        return jax.jvp(jax.grad(fn), (primals,), (tangents,))[1]


def gnvp(
    inner: Function, outer: Function, primals: list[Tensor], tangents: list[Tensor]
) -> list[Tensor]:
    with twice_differentiable():
        outputs, pushed = jax.jvp(inner, (primals,), (tangents,))
        _, pullback = jax.vjp(inner, primals)
        curved = jax.jvp(jax.grad(outer), (outputs,), (pushed,))[1]
        return pullback(curved)[0]


def compile(
    fn: Function,
    on_compile: Callable[[], None],
    jit_compile: bool | str = "auto",
    second_order: bool = False,
) -> Callable[..., Any]:
    def exact(*args):
        with full_precision():
            return fn(*args)

    def traced(*args):
        on_compile()
        return exact(*args)

    return jax.jit(traced) if jit_compile else exact


def read(variable: keras.Variable) -> Tensor:
    return variable.value


def copy(tensor: Tensor) -> Tensor:
    # The trainer donates its state to the next step: whatever is kept must be a new buffer.
    # Without it, a compiled function too hands a lone flat variable back as it came.
    return jnp.array(tensor, copy=True)


def device_array(array: ArrayLike) -> Tensor:
    return jnp.asarray(array)


@jax.jit
def without(vector: Tensor, direction: Tensor) -> Tensor:
    return vector - jnp.vdot(direction, vector) * direction


@jax.jit
def dot(a: Tensor, b: Tensor) -> Tensor:
    return jnp.vdot(a, b)


def wait(tensors: Sequence[Tensor]) -> None:
    # Steps are dispatched asynchronously: a stopwatch has to let them finish first.
    jax.block_until_ready(tensors)
