"""The options that every recipe has: how long, how fast, how precise, and where it goes."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import AcceptsFormerNames, check_options, flag, option
from recipes.common.distribution.distribute import KINDS
from recipes.common.results.configuration import SINGLE_RUN

SCHEDULES = ("none", "linear", "auto")
"""The schedules that `recipes.compare` compares: no warm-up, by steps, by the loss."""
ALL_SCHEDULES = (*SCHEDULES, "h0h1")
DEFAULT_SCHEDULE = "auto"
# Bounds that several options share. Rates far above any that trains are allowed, to see a run
# diverge; losses as far from 0 as float32 can divide by C.
LARGEST_RATE, LARGEST_LOSS, MOST_STEPS = 1e18, 1e12, 10**9
LARGEST_SEED = 2**32 - 1  # NumPy's
SINGLE_RUN_OPTIONS = ("schedule", "seed", *sorted(SINGLE_RUN))
"""Options of `Training` that `recipes.compare` sets itself, or that have no meaning for it."""


@dataclasses.dataclass
class Training(metaclass=AcceptsFormerNames):
    """Training: the same for every recipe."""

    schedule: Literal[ALL_SCHEDULES] = option(
        DEFAULT_SCHEDULE,
        "auto: a warm-up that follows the loss and finds its own constant; h0h1: the papers' form,"
        " peak / max(1, (loss - f*) / C); linear: linear warm-up; none: the peak rate at once."
        " Each ends in the same linear decay",
    )
    peak_lr: float = option(
        1e-3,
        "the peak learning rate; 1e-3 is what the (H0, H1) paper shows for its language models",
        above=0,
        high=LARGEST_RATE,
    )
    C: float | None = option(
        None,
        "h0h1: the loss at which the rate reaches its peak [default: half the initial loss that the"
        " recipe's classes imply, near the papers' 5 for ln 50280 = 10.8]",
        low=1e-12,
        high=LARGEST_LOSS,
    )
    f_star: float = option(
        0.0,
        "h0h1, auto: a lower bound on the loss; 0 is the paper's choice",
        low=-LARGEST_LOSS,
        high=LARGEST_LOSS,
    )
    warmup: float = option(
        0.2, "linear: share of the updates spent warming up; 0.2 as the paper", low=0, high=1
    )
    decay: float = option(
        0.2, "share of the updates in the final linear decay; 0.2 as the paper", low=0, high=1
    )
    final_lr: float = option(
        1e-5, "where the final decay ends; 1e-5 as the paper", low=0, high=LARGEST_RATE
    )
    steps: int | None = option(None, "optimizer updates [default: by size]", low=1, high=MOST_STEPS)
    epochs: float | None = option(
        None, "passes over the training data, instead of --steps", above=0, high=1e6
    )
    batch_size: int | None = option(
        None, "examples in a micro-batch [default: by size]", low=1, high=2**20
    )
    gradient_accumulation_steps: int | None = option(
        None,
        "micro-batches whose gradients are averaged for one update; a larger batch at the memory"
        " of a small one [default: by size]",
        low=1,
        high=2**16,
        formerly="accumulate",
    )
    weight_decay: float = option(
        0.1,
        "decoupled; 0.1 is usual for language models. Keras multiplies it by the learning rate",
        low=0,
        high=1e6,
    )
    beta_1: float = option(0.9, "AdamW's decay rate of the first moment estimates", low=0, below=1)
    beta_2: float = option(
        0.95,
        "AdamW's decay rate of the second moment estimates; 0.95 recovers from loss spikes faster"
        " than 0.999",
        low=0,
        below=1,
    )
    global_clipnorm: float = option(
        1.0,
        "gradients are scaled down to this global norm; 0 switches clipping off",
        low=0,
        high=1e30,
        formerly="clip",
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32",
        "mixed_bfloat16 halves memory on GPU and TPU; on a CPU it is slower. mixed_float16 adds"
        " loss scaling",
    )
    suggest: bool = option(
        False,
        "train nothing: a range test and curvature, on the configured model and data, say which"
        " peak rate, C and exponent to set; into suggestion.json and suggestion.png",
    )
    seed: int = option(
        0, "of the weights, of dropout and of the order of the data", low=0, high=LARGEST_SEED
    )
    eval_every: int | None = option(
        None,
        "updates between evaluations [default: a tenth of --steps]",
        low=1,
        high=MOST_STEPS,
    )
    checkpoint_every: int | None = option(
        None,
        "updates between checkpoints [default: one at each evaluation]",
        low=1,
        high=MOST_STEPS,
    )
    max_to_keep: int = option(
        2,
        "number of checkpoints to keep; 2, so that there is another one if the newest is damaged",
        low=1,
        high=MOST_STEPS,
        formerly="keep",
    )
    jit: Literal["auto", "on", "off"] = option(
        "auto",
        "XLA; auto is on for TensorFlow (twice as fast on a CPU) and JAX, off for PyTorch, whose"
        " compiler takes minutes to start",
    )
    distribute: Literal[KINDS] = option(
        "auto",
        "data: each batch over all devices (JAX); model: the weights too (JAX); mirrored, tpu:"
        " TensorFlow's strategies; auto: all accelerators of this machine, if several",
    )
    model_shards: int | None = option(
        None,
        "model: devices that share one copy of the model [default: all]",
        low=1,
        high=2**16,
    )
    runs: str = option("runs", "folder in which each run makes a folder of its own", kind="folder")
    name: str | None = option(
        None, "the run folder's name [default: recipe, schedule and time]", kind="name"
    )
    resume: str | None = option(
        None,
        "a run folder to resume from its newest valid checkpoint, with its own configuration;"
        " --max-to-keep, --checkpoint-every, --stop-after and --distribute may be changed",
        kind="folder",
    )
    stop_after: int | None = option(
        None,
        "stop after this many updates, with a checkpoint to --resume from",
        low=1,
        high=MOST_STEPS,
    )

    def __post_init__(self):
        check_options(self)
        if self.schedule == "linear" and self.warmup + self.decay > 1:
            raise InputError(
                "`warmup` and `decay` are shares of the run and must not exceed 1 together. "
                f"Received: warmup={self.warmup}, decay={self.decay}"
            )

    def resolved(self, examples: int, defaults: dict, initial_loss: float) -> "Training":
        """A copy with nothing left open: what is written to `config.json`.

        Args:
            examples: How many training examples one epoch has.
            defaults: The recipe's defaults, by size, for the fields that are still `None`.
            initial_loss: Loss of a model that knows nothing, such as ln(classes). With `h0h1`,
                `C` is half of it unless given.

        Raises:
            InputError: If the data has no example, or `epochs` is less than one update or more
                than can be.
        """
        fill = {k: v for k, v in defaults.items() if getattr(self, k) is None}
        filled = dataclasses.replace(self, **fill)
        update = filled.batch_size * filled.gradient_accumulation_steps
        if examples < 1:
            raise InputError("The data is too small for one example. Received: 0 examples")
        if self.epochs is not None:
            filled.steps = round(self.epochs * examples / update)
            if not 1 <= filled.steps <= MOST_STEPS:
                raise InputError(
                    f"`epochs` must be from 1 to {MOST_STEPS:,} updates of {update:,} examples, "
                    f"and the data has {examples:,}. Received: epochs={self.epochs:g}"
                )
        filled.epochs = filled.steps * update / examples
        filled.eval_every = filled.eval_every or max(1, filled.steps // 10)
        if filled.schedule == "h0h1":
            filled.C = filled.C or initial_loss / 2
        return filled


def check_given(given: dict[str, Any], comparison: bool = False) -> None:
    """Refuses options of one command line of which one would be without effect.

    Args:
        given: What was given, by field name, without the defaults.
        comparison: Whether they are those of `recipes.compare`, which has several schedules.

    Raises:
        InputError: If an option was given that the others leave without effect.
    """

    def refuse(name: str, why: str):
        raise InputError(
            f"{flag(name)} has no effect {why}; leave it out. Received: {flag(name)} {given[name]}"
        )

    if "resume" in given:
        folder = Path(given["resume"]).resolve()
        own = {"name": folder.name, "runs": folder.parent}
        for name, value in own.items():
            chosen = given.get(name, value)
            if (Path(chosen).resolve() if name == "runs" else chosen) != value:
                refuse(name, "with --resume, which continues in the run's own folder")
        # The rest has to agree with the run's configuration, which is checked there.
        return
    if given.get("suggest") and given.get("dry_run"):
        refuse("suggest", "with --dry-run, which reads no data")
    if "steps" in given and "epochs" in given:
        refuse("steps", "with --epochs, which stands for it")
    schedules = (
        given.get("schedules", SCHEDULES)
        if comparison
        else (given.get("schedule", DEFAULT_SCHEDULE),)
    )
    takes = {"warmup": ("linear",), "C": ("h0h1",), "f_star": ("h0h1", "auto")}
    for name, those in takes.items():
        if name in given and not set(those) & set(schedules):
            refuse(name, f"without the schedule {' or '.join(those)}")
