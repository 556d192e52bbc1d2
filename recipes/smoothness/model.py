"""The models of the study that the other recipes do not have, small and plain."""

import math

import keras
import numpy as np
from keras import layers, ops


def reinitialise(model: keras.Model, kind: str, num_layers: int, seed: int) -> None:
    r"""Initialises every matrix of a language model again.

    `kind="depth"`: standard deviation 0.02, and $0.02 / \sqrt{2L}$ for the matrices that write into
    the residual stream. `kind="fixed"`: variance 0.02 for all, a standard deviation of 0.14.
    Vectors (norms, biases) stay.
    """
    rng = np.random.default_rng(seed)
    outputs = ("attention_output", "feedforward_output")
    for variable in model.trainable_variables:
        if len(variable.shape) < 2:
            continue
        std = 0.02 if kind == "depth" else math.sqrt(0.02)
        if kind == "depth" and any(name in variable.path for name in outputs):
            std /= math.sqrt(2 * num_layers)
        variable.assign(std * rng.standard_normal(variable.shape))


class LinearAttention(layers.Layer):
    r"""Causal attention with the kernel $\phi(q)^\top \phi(k)$, $\phi = 1 + \mathrm{elu}$.

    The sums over the past are running sums, so the cost is linear in the length, as in a
    Performer (whose $\phi$ is random).
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, shape):
        width = shape[-1]
        self.inputs_map = layers.Dense(3 * width, use_bias=False, name="attention_input")
        self.inputs_map.build(shape)
        self.output_map = layers.Dense(width, use_bias=False, name="attention_output")
        self.output_map.build(shape)
        self.built = True

    def call(self, x):
        length, width = x.shape[1], x.shape[2]
        split = ops.reshape(self.inputs_map(x), (-1, length, 3, self.heads, width // self.heads))
        q, k, v = split[:, :, 0], split[:, :, 1], split[:, :, 2]
        q, k = ops.elu(q) + 1.0, ops.elu(k) + 1.0
        past = ops.cumsum(ops.expand_dims(k, -1) * ops.expand_dims(v, -2), axis=1)
        weight = ops.sum(q * ops.cumsum(k, axis=1), axis=-1, keepdims=True)
        mixed = ops.squeeze(ops.matmul(ops.expand_dims(q, -2), past), -2) / weight
        return self.output_map(ops.reshape(mixed, (-1, length, width)))


def performer(vocabulary: int, context: int, width: int, depth: int, heads: int) -> keras.Model:
    """A language model with linear attention, pre-normalised."""
    ids = keras.Input((context,), dtype="int32")
    x = layers.Embedding(vocabulary, width)(ids)
    positions = layers.Embedding(context, width, name="positions")
    x = x + positions(ops.arange(context))
    for index in range(depth):
        name = f"block_{index}"
        x = x + LinearAttention(heads, name=f"{name}_attention")(layers.LayerNormalization()(x))
        hidden = layers.Dense(4 * width, "gelu", name=f"{name}_up")(layers.LayerNormalization()(x))
        x = x + layers.Dense(width, name=f"{name}_feedforward_output")(hidden)
    logits = layers.Dense(vocabulary, name="head")(layers.LayerNormalization()(x))
    return keras.Model(ids, logits, name="performer")


def lstm(vocabulary: int, context: int, width: int, depth: int) -> keras.Model:
    """A recurrent language model."""
    ids = keras.Input((context,), dtype="int32")
    x = layers.Embedding(vocabulary, width)(ids)
    for index in range(depth):
        x = layers.LSTM(width, return_sequences=True, name=f"block_{index}")(x)
    return keras.Model(ids, layers.Dense(vocabulary, name="head")(x), name="lstm")


def triplet(margin: float = 1.0):
    r"""Mean over all triplets of a batch of $\max(0, d(a,p)^2 - d(a,n)^2 + m)$, unit vectors."""

    def loss(y, z):
        z = z / ops.sqrt(ops.sum(z * z, -1, keepdims=True) + 1e-6)
        distance = 2.0 - 2.0 * ops.matmul(z, ops.transpose(z))
        y = ops.reshape(y, (-1,))
        same = ops.cast(ops.expand_dims(y, 0) == ops.expand_dims(y, 1), z.dtype)
        valid = ops.expand_dims(same, 2) * ops.expand_dims(1.0 - same, 1)
        hinge = ops.relu(ops.expand_dims(distance, 2) - ops.expand_dims(distance, 1) + margin)
        return ops.sum(valid * hinge) / ops.maximum(ops.sum(valid), 1.0)

    return loss


def on_one_hot(loss: keras.losses.Loss, classes: int):
    """A regression loss on class labels: each class a corner of the cube."""

    def function(y, y_pred):
        return loss(ops.one_hot(ops.cast(ops.reshape(y, (-1,)), "int32"), classes), y_pred)

    return function
