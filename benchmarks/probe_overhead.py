"""What `SmoothnessProbe` costs: `python -m benchmarks.probe_overhead`.

Trains the demo GPT with AdamW and a probe every 50 steps, and prints the share of training time
spent probing, each measurement for itself: the median and the range. The result goes to
`benchmarks/results/probe_overhead_<backend>.json`.

The share is that of the cost of one measurement in `every` times the median of the run's own steps
without one, so that both are taken within seconds of each other. The cost is taken twice. The
probe's own clock waits for the training step in flight, so that on an asynchronous device neither
is charged for the other. From outside it is what the steps with a measurement took longer than the
median: it contains everything, at the price of the machine's noise.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np

from benchmarks.common import write_result
from benchmarks.measuring import Clock, median_and_range
from keras_h0h1.callbacks.smoothness_probe import MODES, SmoothnessProbe
from recipes.common.command_line.console import one_line_errors
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import build, check_options, option, parse
from recipes.common.command_line.settings import MOST_STEPS
from recipes.gpt.architectures import ARCHITECTURES
from recipes.gpt.model import SIZES, build_language_model
from recipes.text.batches import TokenBatches
from recipes.text.tokens import load_corpus

PROGRAM = "python -m benchmarks.probe_overhead"


@dataclasses.dataclass
class ProbeOverhead:
    """Probe: how often, and of what."""

    steps: int = option(200, "updates; 4 measurements in 200", low=3, high=MOST_STEPS)
    every: int = option(50, "updates between measurements", low=2, high=MOST_STEPS)
    mode: Literal[MODES] = option("gradient_difference", "what is measured")
    # Half of the training batch: an eighth, as the probe recommends, is two windows of a toy run.
    probe_size: int = option(8, "windows in the probe's batch", low=1, high=2**16)
    arch: Literal[tuple(ARCHITECTURES)] = option("gpt2", "of the demo GPT")

    def __post_init__(self):
        check_options(self)
        if not self.at_steps:
            raise InputError(
                "`steps` must exceed half of `every` by two. "
                f"Received: steps={self.steps}, every={self.every}"
            )

    @property
    def at_steps(self) -> range:
        """In the middle of each stretch, so that every measurement ends within the run."""
        return range(self.every // 2, self.steps - 1, self.every)


def run(options: ProbeOverhead) -> dict:
    """Runs the benchmark, writes and returns its result."""
    at_steps = list(options.at_steps)
    keras.utils.set_random_seed(0)
    corpus = load_corpus((), 2048)
    batches = TokenBatches(corpus.training, 128, 16)
    probe_batches = TokenBatches(corpus.validation, 128, options.probe_size)
    # The trajectory mode compares two batches.
    data = (
        [probe_batches[0], probe_batches[1]] if options.mode == "trajectory" else probe_batches[0]
    )
    model = build_language_model(options.arch, SIZES["demo"], 2048, 128)
    model.compile(
        keras.optimizers.AdamW(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() != "torch",
    )
    probe = SmoothnessProbe(data, options.mode, at_steps=at_steps, max_share=None)

    def fit(steps, callback):
        clock = Clock()
        model.fit(
            batches.starting_at(0),
            steps_per_epoch=steps,
            shuffle=False,
            epochs=1,
            verbose=0,
            callbacks=[callback, clock],
        )
        # Entry k is the time of step k; that of step 0, which compiles, is not known.
        return np.concatenate([[np.nan], clock.durations()])

    # Compiles the training step and the probe, on a few steps that do not count.
    warm = SmoothnessProbe(data, options.mode, at_steps=[1, 3], max_share=None)
    fit(6, warm)
    probe.objective, probe.procedure = warm.objective, warm.procedure
    seconds = fit(options.steps, probe)

    # A gradient difference ends in the step after the one it began in.
    busy = sorted({step + late for step in at_steps for late in (0, 1)})
    step_seconds = float(np.median(np.delete(seconds, [0, *busy])))
    between = step_seconds * options.every
    inside = [float(s) / between for s in probe.column("seconds")]
    outside = [(float(seconds[k : k + 2].sum()) - 2 * step_seconds) / between for k in at_steps]
    result = {
        "mode": options.mode,
        "every": options.every,
        "training_batch": 16,
        "probe_batch": options.probe_size,
        "parameters": int(model.count_params()),
        "measurements": len(probe.history),
        "share_of_training_time": median_and_range(inside),
        "share_from_outside": median_and_range(outside),
        "seconds_a_measurement": median_and_range(list(map(float, probe.column("seconds")))),
        "seconds_a_step": step_seconds,
        "compilations": probe.objective.compilations,
        "compile_seconds": warm.compile_seconds,
    }

    def told(shares):
        low, high = shares["range"]
        return f"{shares['median']:.2%} ({low:.2%} to {high:.2%})"

    print(
        f"{keras.backend.backend()}, {options.arch} demo ({result['parameters']:,} parameters), "
        f"{options.mode} on {options.probe_size} windows every {options.every} steps of 16, "
        f"{result['measurements']} measurements\n"
        f"  share of training time, the probe's clock: {told(result['share_of_training_time'])}\n"
        f"  share of training time, from outside:      {told(result['share_from_outside'])}\n"
        f"  a step: {1e3 * step_seconds:.0f} ms, a measurement: "
        f"{1e3 * result['seconds_a_measurement']['median']:.0f} ms (medians)\n"
        f"  compilations: {result['compilations']} ({result['compile_seconds']:.1f} s, once)"
    )
    write_result("probe_overhead", result)
    return result


def main(argv: Sequence[str] | None = None) -> dict:
    """The command line."""
    given = parse([ProbeOverhead], argv, program=PROGRAM, description=__doc__)
    with one_line_errors(PROGRAM):
        return run(build(ProbeOverhead, given))


if __name__ == "__main__":
    main()
