"""A training step in JAX and optax."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import optax

from benchmarks.steps.cases import OPTIMIZER, Case
from benchmarks.steps.mathematics import loss


def _layer_norm(x, scale, shift, epsilon):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(x.var(-1, keepdims=True) + epsilon) * scale + shift


def _conv(x, kernel, stride):
    pad = (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _cross_entropy(logits, targets):
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


OPS = SimpleNamespace(
    einsum=jnp.einsum,
    reshape=jnp.reshape,
    transpose=jnp.transpose,
    take=lambda table, ids: table[ids],
    masked=lambda scores, allowed: jnp.where(allowed, scores, -1e30),
    softmax=jax.nn.softmax,
    gelu_tanh=functools.partial(jax.nn.gelu, approximate=True),
    gelu_erf=functools.partial(jax.nn.gelu, approximate=False),
    relu=jax.nn.relu,
    sqrt=jnp.sqrt,
    layer_norm=_layer_norm,
    conv=_conv,
    mean=jnp.mean,
    sum=functools.partial(jnp.sum, axis=-1),
    variance=jnp.var,
    logsumexp=functools.partial(jax.nn.logsumexp, axis=-1),
    cross_entropy=_cross_entropy,
    constant=jax.lax.stop_gradient,
)


class Step:
    """One update each call."""

    def __init__(self, case: Case, weights: dict, stats: dict):
        given = OPTIMIZER
        rule = optax.chain(
            optax.clip_by_global_norm(given["global_clipnorm"]),
            optax.adamw(
                given["learning_rate"], given["beta_1"], given["beta_2"], given["epsilon"],
                weight_decay=given["weight_decay"],
            ),
        )  # fmt: skip
        self.weights, self.stats = jax.tree.map(jnp.asarray, (weights, stats))
        self.state = rule.init(self.weights)
        value = jax.value_and_grad(lambda *args: loss(OPS, case, *args), has_aux=True)

        @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
        def step(weights, stats, state, x, y):
            (found, stats), gradients = value(weights, stats, x, y)
            updates, state = rule.update(gradients, state, weights)
            return optax.apply_updates(weights, updates), stats, state, found

        self.step = step

    def __call__(self, x, y):
        """The loss before the update, on the device."""
        self.weights, self.stats, self.state, found = self.step(
            self.weights, self.stats, self.state, x, y
        )
        return found
