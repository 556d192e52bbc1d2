"""XLA:CPU recomputes the residual stream's gradient in copies for each kernel's gradient."""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

BATCH, TIME, WIDTH, LAYERS, ROUNDS = 16, 128, 128, 4, 20


def loss(weights, x, axes):
    """Of residual blocks whose products are on so many axes."""
    for up, down in weights:
        y = x.reshape(-1, WIDTH) if axes == 2 else x
        x = x + (jax.nn.gelu(y @ up) @ down).reshape(x.shape)
    return (x**2).mean()


random = np.random.default_rng(0)
shapes = [(WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)] * LAYERS
flat = [random.standard_normal(s).astype("float32") * s[0] ** -0.5 for s in shapes]
arguments = list(zip(flat[::2], flat[1::2], strict=True)), jnp.ones((BATCH, TIME, WIDTH))
programs = {}
for axes in (3, 2):
    gradient = jax.jit(jax.grad(lambda w, x, n=axes: loss(w, x, n)))
    programs[axes] = gradient.lower(*arguments).compile()
    text = programs[axes].as_text()
    # The gradient of the residual stream is a sum over the later blocks; in HLO, additions.
    print(
        f"{axes} axes: {text.count(' copy(')} copies, {text.count(' transpose(')} transposes, "
        f"{text.count(' add(')} additions, "
        f"{programs[axes].cost_analysis()['bytes accessed'] / 1e6:.0f} MB accessed"
    )


def seconds(axes):
    """Of one call."""
    start = time.perf_counter()
    jax.block_until_ready(programs[axes](*arguments))
    return time.perf_counter() - start


for axes in (3, 2):
    seconds(axes)
ratios = [seconds(3) / seconds(2) for _ in range(ROUNDS)]
quartiles = statistics.quantiles(ratios, n=4)
print(f"JAX {jax.__version__}: three axes take {quartiles[1]:.2f} times as long as two")
print(f"  (median of {ROUNDS} pairs; quartiles {quartiles[0]:.2f} and {quartiles[2]:.2f})")
