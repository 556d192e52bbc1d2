"""What `SmoothnessProbe` costs: `python -m benchmarks.probe_overhead`.

Trains the demo GPT with AdamW, in turn without and with a probe every 50 steps, in one process,
and prints the share of training time spent probing, the ratio of step times, and how often the
probe compiled. The result goes to `benchmarks/results/probe_overhead_<backend>.json`.

The share is the probe's own clock: it waits for the training step in flight, so that on an
asynchronous device neither is charged for the other. The ratio is measured from outside and
contains everything, at the price of the machine's noise.
"""

import argparse
import statistics
import time

import keras
import numpy as np

from benchmarks.common import write_result
from keras_h0h1.callbacks.smoothness_probe import MODES, SmoothnessProbe
from recipes.text.batches import TokenBatches
from recipes.text.models import SIZES, build_language_model
from recipes.text.tokens import load_corpus


class _Clock(keras.callbacks.Callback):
    """Marks the end of each step, waiting for it: reading the loss does."""

    def __init__(self):
        super().__init__()
        self.marks = []

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])
        self.marks.append(time.perf_counter())


def main() -> None:
    """Runs the benchmark and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="in each turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--mode", choices=MODES, default="gradient_difference")
    parser.add_argument("--probe-size", type=int, default=8, help="windows in the probe's batch")
    parser.add_argument("--arch", choices=("gpt2", "llama"), default="gpt2")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    corpus = load_corpus((), 2048)
    batches = TokenBatches(corpus.training, 128, 16)
    x, y = TokenBatches(corpus.validation, 128, options.probe_size)[0]
    model = build_language_model(options.arch, SIZES["demo"], 2048, 128)
    model.compile(
        keras.optimizers.AdamW(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() != "torch",
    )
    probe = SmoothnessProbe((x, y), options.mode, every=options.every, max_share=None)

    def fit(steps, callbacks):
        clock = _Clock()
        model.fit(
            batches.starting_at(0),
            steps_per_epoch=steps,
            shuffle=False,
            epochs=1,
            verbose=0,
            callbacks=[*callbacks, clock],
        )
        # From the first mark on: what compiled, compiled before it.
        return (clock.marks[-1] - clock.marks[0]) / (len(clock.marks) - 1)

    fit(3, [])
    # Compiles the probe, on a few steps that do not count.
    warm = SmoothnessProbe((x, y), options.mode, at_steps=[0, 2], max_share=None)
    fit(4, [warm])
    probe.objective, probe._difference = warm.objective, warm._difference
    plain, probed = [], []
    for _ in range(options.turns):
        plain.append(fit(options.steps, []))
        probed.append(fit(options.steps, [probe]))
    share = probe.seconds / (statistics.mean(plain) * options.steps * options.turns)
    result = {
        "mode": options.mode,
        "every": options.every,
        "training_batch": 16,
        "probe_batch": options.probe_size,
        "parameters": int(model.count_params()),
        "measurements": len(probe.history),
        "share_of_training_time": share,
        "probe_clock_share": probe.share,
        "seconds_a_measurement": float(np.mean(probe.column("seconds"))),
        "step_seconds_plain": plain,
        "step_seconds_probed": probed,
        "ratio_of_step_times": [b / a for a, b in zip(plain, probed, strict=True)],
        "compilations": probe.objective.compilations,
        "compile_seconds": warm.compile_seconds,
    }
    print(
        f"{keras.backend.backend()}, {options.arch} demo ({result['parameters']:,} parameters), "
        f"{options.mode} every {options.every} steps, {result['measurements']} measurements\n"
        f"  share of training time spent probing: {share:.2%}\n"
        f"  step time with the probe over without: "
        + ", ".join(f"{r:.3f}" for r in result["ratio_of_step_times"])
        + f"\n  compilations: {result['compilations']} ({result['compile_seconds']:.1f} s, once)"
    )
    write_result("probe_overhead", result)


if __name__ == "__main__":
    main()
