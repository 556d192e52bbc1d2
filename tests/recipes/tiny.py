"""A recipe whose updates take milliseconds, with all that moves: for tests that kill it."""

import dataclasses
import io
import time
from collections.abc import Callable

import keras
import numpy as np

from recipes.common.checkpoints import snapshot as checkpoints
from recipes.common.command_line.settings import Training
from recipes.common.recipe import Recipe
from recipes.common.training import loop as training
from recipes.common.training.experiment import Experiment
from recipes.common.training.optimizers import build_adamw
from recipes.common.training.task import Task

FEATURES, CLASSES = 8, 3


@dataclasses.dataclass
class TinyConfig(Training):
    """Tiny: a dense network on noise."""


def no_hook(k: int) -> None:
    """Called before micro-batch `k` is made; tests put signals and delays here."""


hook: Callable[[int], None] = no_hook


def batches(start: int):
    for k in range(start, 10**9):
        hook(k)
        rng = np.random.default_rng(k)
        x = rng.normal(size=(4, FEATURES)).astype("float32")
        yield x, (x[:, 0] > 0).astype("int32") + (x[:, 1] > 1)


@dataclasses.dataclass(frozen=True)
class Noise:
    """The data: all there is to say about it."""

    source: str = "noise"


class TinyExperiment(Experiment):
    def load_data(self):
        return Noise()

    def resolve(self):
        defaults = {
            "steps": 30,
            "batch_size": 4,
            "gradient_accumulation_steps": 2,
            "checkpoint_every": 2,
        }
        return self.config.resolved(1000, defaults, initial_loss=1.0)

    def fingerprint(self):
        return "0"

    def task(self):
        return Task(
            batches=batches,
            validation=next(batches(10**8)),
            unit="examples",
            units_per_update=8,
            baselines={},
            source=self.data.source,
            export=self.export,
        )

    def build_model(self):
        model = keras.Sequential(
            [
                keras.Input((FEATURES,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.2),
                keras.layers.Dense(CLASSES),
            ]
        )
        model.compile(
            build_adamw(self.config),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            # TensorFlow and PyTorch run it sooner than they compile it.
            jit_compile=keras.backend.backend() == "jax",
        )
        return model

    def introduction(self):
        return "A dense network on noise"

    def report(self, model, summary):
        pass


RECIPE = Recipe("tiny", TinyConfig, TinyExperiment, "A test.")


def main(argv: list[str], write_delay: float = 0.0, batch_delay: float = 0.0) -> None:
    """The program in a process of its own.

    Args:
        argv: Its options.
        write_delay: Seconds that each array of a checkpoint takes to write, in two halves.
        batch_delay: Seconds that each micro-batch takes to make.
    """
    global hook
    training.plot_runs = lambda *args, **kwargs: None  # a second of each process
    if write_delay:

        def slowly(member, array):
            data = io.BytesIO()
            np.lib.format.write_array(data, array, allow_pickle=False)
            for half in (data.getvalue()[:100], data.getvalue()[100:]):
                member.write(half)
                time.sleep(write_delay / 2)

        checkpoints._write_array = slowly
    if batch_delay:
        hook = lambda k: time.sleep(batch_delay)  # noqa: E731
    RECIPE.main(argv)
