"""Speed of a model of the papers' sizes on a GPU or TPU: `python -m benchmarks.paper_sizes`.

Trains the papers' Llama on real text in bfloat16 with each of the three schedules, on the same
batches, and writes `benchmarks/results/paper_sizes_SIZE_<backend>.json`: tokens per second, the
share of the device's peak that this is, and the losses. A short run first tells how many updates
fit into `--minutes`. Needs no TensorFlow: KERAS_BACKEND=jax.

Utilisation is given twice: with the operations that the mathematics needs, and with those that were
made again to save memory as well. Both count attention's whole square.

Exit status: 0, 2 for a wrong option, 3 where there is no accelerator; then nothing is written.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np

from benchmarks.common import write_result
from benchmarks.measuring import Clock, accelerator
from recipes.common.command_line.console import one_line_errors
from recipes.common.command_line.options import build, check_options, option, parse
from recipes.common.command_line.settings import MOST_STEPS, SCHEDULES
from recipes.gpt.config import GPTConfig, defaults_of, resolve
from recipes.gpt.cost import HARDWARE, Flops, known_hardware, training_flops
from recipes.gpt.data import load_data
from recipes.gpt.model import SIZES
from recipes.gpt.scale import build_training_model
from recipes.text.batches import TokenBatches, validation_windows

PROGRAM = "python -m benchmarks.paper_sizes"
NO_ACCELERATOR = 3
WARM_UP = 2  # updates that are not timed: the first one compiles


def train(config: GPTConfig, corpus, updates: int) -> tuple[keras.Model, Clock, float]:
    """Trains so many updates of a resolved configuration; the model, its clock and tokens/s."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(config.seed)
    model = build_training_model(config)
    batches = TokenBatches(corpus.training, config.context, config.batch_size, config.seed)
    clock = Clock(config.gradient_accumulation_steps)
    model.fit(
        batches.starting_at(0),
        steps_per_epoch=updates * config.gradient_accumulation_steps,
        shuffle=False,
        verbose=0,
        callbacks=[clock],
    )
    (first, start, _), (last, end, _) = clock.marks[min(WARM_UP, updates - 1) - 1], clock.marks[-1]
    tokens = (last - first) * config.batch_size * config.context
    return model, clock, tokens / (end - start) if last > first else float("nan")


@dataclasses.dataclass
class PaperSizes:
    """Paper sizes: which model, and how long."""

    size: Literal[tuple(SIZES)] = option("70m", "of the papers' Llama")
    minutes: float = option(10.0, "of training, in all", above=0, high=1e6)
    steps: int | None = option(
        None, "updates for each schedule, instead of --minutes", low=2, high=MOST_STEPS
    )
    batch_size: int = option(32, "windows in a micro-batch", low=1, high=2**20)
    context: int | None = option(
        None, "tokens in a window [default: the recipe's]", low=2, high=2**20
    )
    vocabulary: int | None = option(
        None, "tokens of the tokenizer [default: the recipe's]", low=2, high=2**22
    )
    data: tuple[str, ...] = option(
        (), "as for recipes.gpt [default: the standard library's source]", kind="path"
    )
    remat: Literal["none", "blocks"] = option("none", "as for recipes.gpt")
    allow_cpu: bool = option(False, "run without an accelerator, in float32")

    def __post_init__(self):
        check_options(self)


def prepared(options: PaperSizes, schedule: str, steps: int, precision: str):
    """The resolved configuration of one run, and its corpus."""
    defaults = defaults_of(options.size)
    whole = defaults["batch_size"] * defaults["gradient_accumulation_steps"]
    config = GPTConfig(
        arch="llama",
        size=options.size,
        data=options.data,
        schedule=schedule,
        steps=steps,
        batch_size=options.batch_size,
        gradient_accumulation_steps=max(1, whole // options.batch_size),
        context=options.context,
        vocabulary=options.vocabulary,
        precision=precision,
        remat=options.remat,
    )
    corpus = load_data(config)
    return resolve(config, corpus), corpus


def updates_in(options: PaperSizes, precision: str) -> int:
    """How many updates of each schedule fit into `--minutes`, from a short run."""
    config, corpus = prepared(options, "none", 8, precision)
    *_, speed = train(config, corpus, 8)
    update = config.batch_size * config.gradient_accumulation_steps * config.context
    steps = max(10, int(60 * options.minutes / len(SCHEDULES) * speed / update))
    print(f"{speed:,.0f} tokens/s: {steps} updates for each schedule", flush=True)
    return steps


def cost(config: GPTConfig) -> Flops:
    """Floating-point operations of one token of training."""
    return training_flops(
        "llama",
        SIZES[config.size],
        config.vocabulary,
        config.context,
        config.remat == "blocks",
        bool(config.loss_block),
    )


def measure(config: GPTConfig, corpus, peak: float | None) -> dict:
    """Trains and evaluates with one schedule.

    Args:
        config: The resolved configuration.
        corpus: Its data.
        peak: Operations a second that the device can do; `None` if it is not known.
    """
    model, clock, speed = train(config, corpus, config.steps)
    validation = validation_windows(
        corpus.validation, config.context, config.batch_size, config.eval_tokens
    )
    loss = model.evaluate(*validation, batch_size=config.batch_size, verbose=0)
    flops = cost(config)
    return {
        "schedule": config.schedule,
        "updates": config.steps,
        "tokens": config.steps
        * config.batch_size
        * config.gradient_accumulation_steps
        * config.context,
        "epochs": config.epochs,
        "tokens_per_second": speed,
        "seconds_per_update_median": float(np.median(clock.durations())),
        "utilisation": peak and speed * flops.model / peak,
        "utilisation_with_recomputation": peak and speed * flops.total / peak,
        "mean_training_loss": clock.marks[-1][2],
        "validation_loss": float(loss),
    }


def run(options: PaperSizes) -> dict:
    """Runs the benchmark and writes its result."""
    name = accelerator()
    if name is None and not options.allow_cpu:
        print(
            "There is no GPU or TPU here, so there is nothing to measure and nothing was written. "
            f"Received: backend={keras.backend.backend()}",
            file=sys.stderr,
        )
        sys.exit(NO_ACCELERATOR)
    precision = "mixed_bfloat16" if name else "float32"
    keras.config.set_dtype_policy(precision)
    steps = options.steps or updates_in(options, precision)
    peak = HARDWARE.get(known_hardware(name or ""))
    rows = []
    for schedule in SCHEDULES:
        config, corpus = prepared(options, schedule, steps, precision)
        rows.append(measure(config, corpus, peak))
        print(rows[-1], flush=True)
    flops = cost(config)
    result = {
        "accelerator": name,
        "peak_flops": peak,
        "flops_per_token": {"model": flops.model, "with_recomputation": flops.total},
        "precision": precision,
        "remat": options.remat,
        "micro_batch": [config.batch_size, config.context],
        "micro_batches_per_update": config.gradient_accumulation_steps,
        "data": corpus.source,
        "schedules": rows,
    }
    write_result(f"paper_sizes_{options.size}", result)
    return result


def main(argv: Sequence[str] | None = None) -> dict:
    """The command line."""
    given = parse([PaperSizes], argv, program=PROGRAM, description=__doc__)
    with one_line_errors(PROGRAM):
        return run(build(PaperSizes, given))


if __name__ == "__main__":
    main()
