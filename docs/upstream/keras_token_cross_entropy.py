"""Keras' sparse cross-entropy of token logits takes longer than its formula."""

import statistics
import sys
import time

import keras
import numpy as np
from keras import ops

SHAPES, ROUNDS = ((16, 128, 2048), (1, 256, 50280)), 20


def formula(targets, logits):
    """The logarithm of the sum of exponentials, less the target's logit."""
    chosen = ops.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return ops.mean(ops.logsumexp(logits, axis=-1) - chosen)


def of_keras(targets, logits):
    """Keras' own."""
    return ops.mean(ops.sparse_categorical_crossentropy(targets, logits, from_logits=True))


def gradient(loss, targets, logits):
    """A function that waits for the gradient of the logits."""
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(jax.grad(loss, argnums=1))
        return lambda: jax.block_until_ready(compiled(targets, logits))
    if keras.backend.backend() == "torch":

        def eager():
            logits.grad = None
            loss(targets, logits.requires_grad_()).backward()

        return eager
    sys.exit("TensorFlow has an operation of its own for it.")


def seconds(call):
    """Of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


random = np.random.default_rng(0)
print(f"Keras {keras.__version__}, {keras.backend.backend()}")
for shape in SHAPES:
    logits = ops.convert_to_tensor(random.standard_normal(shape).astype("float32"))
    targets = ops.convert_to_tensor(random.integers(0, shape[-1], shape[:-1]))
    assert abs(float(formula(targets, logits)) - float(of_keras(targets, logits))) < 1e-4
    calls = [gradient(loss, targets, logits) for loss in (of_keras, formula)]
    for call in calls:
        call()
    ratios = [seconds(calls[0]) / seconds(calls[1]) for _ in range(ROUNDS)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{shape}: Keras' takes {middle:.2f} times as long as the formula "
        f"(median of {ROUNDS} pairs; quartiles {low:.2f} and {high:.2f})"
    )
