"""Evidence: a network that reads a number, with the squared error of the number itself."""

import keras
import numpy as np
from keras import layers

from benchmarks.quality import digit_strings
from benchmarks.quality.workload import EVIDENCE, Workload

BATCH = 32
CHOICES = (2, 10, 10)
"""How many digits there are for each place: the numbers go from 0 to 199."""


def training(seed: int, updates: int):
    """Pictures of three digits, and the number that they make."""
    return _examples("training", np.random.default_rng([seed, 6]), (updates, BATCH))


def held_out():
    """2,000 pictures of digits that training does not show."""
    return _examples("held out", np.random.default_rng(7), (4, 500))


def _examples(part: str, generator, shape: tuple[int, int]):
    digits = np.stack([generator.integers(0, n, size=shape) for n in CHOICES], axis=-1)
    pictures = digit_strings.row_of_images(part, digits, generator)
    return pictures, (digits @ np.array([100, 10, 1])).astype(np.float32)[..., None]


def model(seed: int) -> keras.Model:
    """Two convolutions, a hidden layer, and the number."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 24, 1)),
            layers.Rescaling(1 / 16),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(1),
        ]
    )


def trivial_loss() -> float:
    """The loss of the mean of all numbers, 99.5."""
    return float(np.mean((held_out()[1] - 99.5) ** 2))


WORKLOAD = Workload(
    name="regression",
    kind=EVIDENCE,
    description="convolutional network, reads numbers from 0 to 199 off pictures of three digits, "
    "squared error of the number itself, AdamW",
    version=1,
    updates=1000,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    model=model,
    optimizer=lambda schedule: keras.optimizers.AdamW(schedule),
    training=training,
    held_out=held_out,
    trivial_loss=trivial_loss,
    compile=lambda: {"loss": "mse", "metrics": [keras.metrics.MeanAbsoluteError(name="mae")]},
    metric="mae",
)
