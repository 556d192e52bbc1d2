"""A training step in TensorFlow, compiled by XLA."""

import functools
from types import SimpleNamespace

import tensorflow as tf

from benchmarks.steps.cases import OPTIMIZER, Case
from benchmarks.steps.mathematics import loss


def _layer_norm(x, scale, shift, epsilon):
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + epsilon) * scale + shift


def _conv(x, kernel, stride):
    pad = (kernel.shape[0] - 1) // 2
    return tf.nn.conv2d(x, kernel, stride, [(0, 0), (pad, pad), (pad, pad), (0, 0)])


def _cross_entropy(logits, targets):
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    )


OPS = SimpleNamespace(
    einsum=tf.einsum,
    reshape=tf.reshape,
    transpose=tf.transpose,
    take=tf.gather,
    masked=lambda scores, allowed: tf.where(allowed, scores, -1e30),
    softmax=tf.nn.softmax,
    gelu_tanh=functools.partial(tf.nn.gelu, approximate=True),
    gelu_erf=functools.partial(tf.nn.gelu, approximate=False),
    relu=tf.nn.relu,
    sqrt=tf.sqrt,
    layer_norm=_layer_norm,
    conv=_conv,
    mean=tf.reduce_mean,
    sum=functools.partial(tf.reduce_sum, axis=-1),
    variance=tf.math.reduce_variance,
    logsumexp=functools.partial(tf.reduce_logsumexp, axis=-1),
    cross_entropy=_cross_entropy,
    constant=tf.stop_gradient,
)


class Step:
    """One update each call."""

    def __init__(self, case: Case, weights: dict, stats: dict):
        given = OPTIMIZER
        b1, b2 = given["beta_1"], given["beta_2"]
        weights, stats = tf.nest.map_structure(tf.Variable, (weights, stats))
        flat = tf.nest.flatten(weights)
        first, second = ([tf.Variable(tf.zeros_like(w)) for w in flat] for _ in range(2))
        count = tf.Variable(0.0)

        @tf.function(jit_compile=True)
        def step(x, y):
            with tf.GradientTape() as tape:
                # Variables are read once.
                values = tf.nest.map_structure(tf.convert_to_tensor, weights)
                tape.watch(tf.nest.flatten(values))
                found, after = loss(OPS, case, values, stats, x, y)
            gradients = tape.gradient(found, tf.nest.flatten(values))
            # Of a table that was gathered from and multiplied with.
            gradients = [tf.convert_to_tensor(g) for g in gradients]
            gradients, _ = tf.clip_by_global_norm(gradients, given["global_clipnorm"])
            for old, new in zip(tf.nest.flatten(stats), tf.nest.flatten(after), strict=True):
                old.assign(new)
            count.assign_add(1.0)
            rate, decay = given["learning_rate"], given["weight_decay"]
            for w, m, v, g in zip(flat, first, second, gradients, strict=True):
                m.assign(b1 * m + (1 - b1) * g)
                v.assign(b2 * v + (1 - b2) * g * g)
                root = tf.sqrt(v / (1 - b2**count)) + given["epsilon"]
                w.assign(w - rate * (m / (1 - b1**count) / root + decay * w))
            return found

        self.step = step

    def __call__(self, x, y):
        """The loss before the update, on the device."""
        return self.step(x, y)
