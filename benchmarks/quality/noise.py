"""What a retreating rate does where the loss is mere noise: `python -m benchmarks.quality.noise`.

A retreat has to see that the loss rises, and not that it scatters. The rule is fed losses that are
independent and of the same distribution, so that nothing rises, and the mean of its cap is printed:
1 for a rule that is never mistaken. `PROTOCOL.md` asks for 0.9.
"""

import os
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax
import numpy as np

from benchmarks.quality import candidates
from benchmarks.quality.methods import Method
from benchmarks.quality.rates import RetreatingRule

STEPS, RUNS, BEGIN = 20_000, 8, 2_000
"""Losses in a run, runs, and losses before the mean begins."""

NOISE: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, shape: 3.0 + 0.5 * rng.normal(size=shape),
    "lognormal": lambda rng, shape: np.exp(0.5 * rng.normal(size=shape)),
}


def mean_cap(method: Method, losses: np.ndarray) -> float:
    """The mean of the cap over the runs.

    Args:
        method: A candidate of the family `retreating`.
        losses: Array of shape `(runs, steps)`.
    """
    rule = RetreatingRule(1.0)
    values = rule.initial_state() | method.constants
    # Kept by the optimizer, which is not there: the losses are positive.
    values["lowest_loss"] = 0.0
    start = {name: np.float32(value) for name, value in values.items()}

    def step(state, loss):
        new = {**state, **rule.update(state, loss)}
        return new, new["cap"]

    run = jax.jit(jax.vmap(lambda losses: jax.lax.scan(step, start, losses)[1]))
    return float(np.asarray(run(losses.astype(np.float32)))[:, BEGIN:].mean())


def main() -> None:
    """Prints a row for each candidate that can retreat."""
    print(f"| | {' | '.join(NOISE)} |\n|---|---|---|")
    for method in (*candidates.ROUND_4, *candidates.ROUND_5):
        if "threshold" in method.constants:
            rng = np.random.default_rng(0)
            means = [mean_cap(method, draw(rng, (RUNS, STEPS))) for draw in NOISE.values()]
            print(f"| {method.name} | {' | '.join(f'{m:.2f}' for m in means)} |")


if __name__ == "__main__":
    main()
