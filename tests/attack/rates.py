"""Constants, losses and base rates from the edges of float32, against the optimizers.

Each combination is either refused with a ValueError that says what was received, or trained for
a few steps, after which the weight, the rate and every number of the state have to be finite.

    KERAS_BACKEND=jax python -m tests.attack.rates --count 10000
"""

import argparse
import collections
import contextlib
import math
import random
from pathlib import Path

import keras
import numpy as np

from keras_h0h1 import AdaptiveGD, LossAdaptiveLearningRate, LossAware
from tests.attack.record import write_record

EDGES = [
    0.0, 1e-46, 1e-45, 1e-40, 1.17e-38, 1.18e-38, 1e-30, 1e-7, 1e7, 1e10, 1.8e19, 1e20, 1e38,
    1.7e38, 3.4e38, 3.41e38, 1e39, 1e300, math.inf, math.nan, -1e-45, -1.0, -1e20, -3.4e38, -1e39,
]  # fmt: skip
ORDINARY = [0.1, 0.5, 1.0, 3.0]
STEPS = 4
WARM_UP = 22
"""Ordinary losses before those of the edges, for what counts only after some tens of losses."""


class Listed(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the given rates, one a step and the last one for good; no configuration."""

    def __init__(self, rates):
        self.rates = np.array(rates, "float32")

    def __call__(self, step):
        step = keras.ops.minimum(step, len(self.rates) - 1)
        return keras.ops.take(keras.ops.convert_to_tensor(self.rates), step)


def draw(rng: random.Random) -> dict:
    """One combination; about one number in four is from the edges, and every second loss."""

    def number(share=0.25):
        return rng.choice(EDGES if rng.random() < share else ORDINARY)

    combination = {
        "losses": [number(0.5) for _ in range(STEPS)],
        "before": WARM_UP if rng.random() < 0.1 else 0,
        "accumulate": rng.choice([None, None, 2, 4]),
        "f_star": number(0.2) if rng.random() < 0.5 else 0.0,
        "rho": rng.choice([1.0, 1.0, 0.5, 1.5, 4.0, 100.0, 1000.0, 1e-40, 1e38, 1e39]),
    }
    if rng.random() < 0.5:
        rule = rng.choice(["alimisis", "sharp", "power", "envelope"])
        combination |= {"rule": rule, "H0": number(), "H1": number()}
        for name in ("H0", "H1"):
            if rule == "sharp" and rng.random() < 0.3:
                combination[name] = "auto"
        if rule in ("alimisis", "envelope"):
            combination["rho"] = 1.0
    else:
        combination |= {
            "base": [number() for _ in range(STEPS)] if rng.random() < 0.4 else number(),
            "C": "auto" if rng.random() < 0.3 else number(),
            "spike_threshold": number() if rng.random() < 0.2 else None,
            "smoothing": rng.choice([None, None, 0.0, 1e-40, 0.5, 0.99, 1 - 1e-12]),
            "latch": rng.random() < 0.3,
            "min_factor": rng.choice([0.0, 0.0, 1e-45, 0.1, 1.0]),
        }
        if rng.random() < 0.2:
            combination["f_star"] = "auto"
    return combination


def make(combination):
    """The optimizer of a combination; raises what its constructors raise."""
    arguments = dict(combination)
    del arguments["losses"], arguments["before"]
    accumulate = arguments.pop("accumulate")
    if "rule" in arguments:
        return AdaptiveGD(**arguments, gradient_accumulation_steps=accumulate)
    if isinstance(arguments["base"], list):
        arguments["base"] = Listed(arguments["base"])
    schedule = LossAdaptiveLearningRate(**arguments)
    return LossAware(keras.optimizers.SGD(schedule, gradient_accumulation_steps=accumulate))


def outcome(combination) -> str:
    """`"refused"`, `"finite"`, or what is wrong."""
    try:
        with np.errstate(all="ignore"):
            optimizer = make(combination)
    except ValueError as error:
        return "refused" if "Received: " in str(error) else f"a bare ValueError: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    weight = keras.Variable([1.0])
    for loss in [2.0] * combination["before"] + combination["losses"]:
        with np.errstate(all="ignore"):
            loss = np.float32(loss)
        optimizer.apply([keras.ops.ones((1,))], [weight], loss=keras.ops.convert_to_tensor(loss))
        rate = float(optimizer.rate_states[0].rate())
        state = optimizer.rate_states[0].variables
        values = {name: float(keras.ops.convert_to_numpy(v)) for name, v in state.items()}
        value = float(keras.ops.convert_to_numpy(weight)[0])
        if not math.isfinite(value):
            return f"weight {value} at rate {rate}"
        if not (math.isfinite(rate) and rate >= 0.0):
            return f"rate {rate}"
        if not all(map(math.isfinite, values.values())):
            return f"state {values}"
    return "finite"


def attack(count: int, seed: int = 0, every: int | None = None):
    """Counts of the outcomes of `count` combinations, and the wrong ones.

    With `every`, prints a line after so many.
    """
    rng = random.Random(seed)
    counts, wrong = collections.Counter(), []
    for number in range(1, count + 1):
        combination = draw(rng)
        result = outcome(combination)
        if result not in ("refused", "finite"):
            wrong.append((combination, result))
            result = "wrong"
        counts[result] += 1
        if every and number % every == 0:
            print(f"{number:,} of {count:,} tried, {counts['wrong']} wrong", flush=True)
    return counts, wrong


def _without_compiling():
    """On JAX each combination would compile its branches: 12 MB that are never used again."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.disable_jit()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the counts")
    options = parser.parse_args()
    with _without_compiling():
        counts, wrong = attack(options.count, options.seed, every=500)
    if options.out:
        found = {name: counts[name] for name in ("refused", "finite", "wrong")}
        found = {"seed": options.seed, "tried": options.count, **found}
        write_record(options.out, f"rates_{keras.backend.backend()}", found)
    for combination, result in wrong[:20]:
        print(f"wrong: {result}\n  {combination}")
    print(
        f"{keras.backend.backend()}: {options.count} tried, {counts['refused']} refused, "
        f"{counts['finite']} finite, {counts['wrong']} wrong"
    )
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
