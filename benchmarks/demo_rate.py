"""Which peak rate `make demo` has: `python -m benchmarks.demo_rate`.

Trains the demo's GPT on other text, with another seed and shorter windows, and chooses by the rule
in `benchmarks/DEMO_RATE.md`. Writes `benchmarks/results/demo_rate_<backend>.json` after each rate;
run again, it goes on with the rates that are missing there.
"""

import json
import math
import pathlib
import tempfile
from collections.abc import Mapping

import keras

from benchmarks.common import RESULTS, write_result
from recipes.compare.__main__ import main as compare
from recipes.gpt.config import defaults_of

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
SEED, CONTEXT = 1, 32
NAME = "demo_rate"
# Percent: how far above its lowest loss linear warm-up may be, and what no warm-up must lose.
NEAR, MATTERS = 2.0, 0.5


def choose(losses: Mapping[float, Mapping[str, float]]) -> float:
    """The rate, from the final validation losses of `none` and `linear` at each.

    Args:
        losses: By rate and schedule; NaN or infinity where a run diverged.

    Example:

    >>> choose({0.1: {"none": 2.0, "linear": 2.0}, 0.3: {"none": 2.2, "linear": 2.01}})
    0.3
    """
    finite = {r: of for r, of in losses.items() if math.isfinite(of["linear"])}
    lowest = min(of["linear"] for of in finite.values())
    near = {r: of for r, of in finite.items() if of["linear"] <= lowest * (1.0 + NEAR / 100.0)}

    def behind(rate: float) -> float:
        none, linear = near[rate]["none"], near[rate]["linear"]
        return 100.0 * (none / linear - 1.0) if math.isfinite(none) else math.inf

    rate = max(near, key=behind)
    return rate if behind(rate) >= MATTERS else max(near)


def run(rate: float, data: pathlib.Path) -> dict[str, float]:
    """Final validation losses at a rate, by schedule; NaN for a run that did not learn."""
    with tempfile.TemporaryDirectory() as runs:
        rows = compare(
            [
                *("gpt", f"--peak-lr={rate:g}", "--schedules=none,linear", f"--seeds={SEED}"),
                *(f"--context={CONTEXT}", f"--data={data}", "--sample-tokens=0", f"--runs={runs}"),
            ]
        )
    # The initial loss: small weights predict all tokens alike.
    limit = math.log(defaults_of("demo")["vocabulary"])
    return {
        row["schedule"]: row["validation"] if row["validation"] <= limit else math.nan
        for row in rows
    }


def main() -> None:
    """The command line."""
    data = pathlib.Path(keras.__file__).parent
    settings = {
        "data": f"source of Keras {keras.__version__}",
        "seed": SEED,
        "context": CONTEXT,
    }
    losses = finished(settings)
    for rate in RATES:
        if rate in losses:
            continue
        losses[rate] = run(rate, data)
        write_result(
            NAME,
            {
                **settings,
                "runs": [{"peak_lr": rate, **of} for rate, of in losses.items()],
                "chosen": choose(losses) if len(losses) == len(RATES) else None,
            },
        )


def finished(settings: Mapping[str, object]) -> dict[float, dict[str, float]]:
    """The losses that an earlier call with the same settings has left, by rate and schedule."""
    path = RESULTS / f"{NAME}_{keras.backend.backend()}.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text("utf-8"))
    if {name: found[name] for name in settings} != settings:
        return {}
    # JSON has no NaN.
    return {
        row["peak_lr"]: {s: math.nan if row[s] is None else row[s] for s in ("none", "linear")}
        for row in found["runs"]
    }


if __name__ == "__main__":
    main()
