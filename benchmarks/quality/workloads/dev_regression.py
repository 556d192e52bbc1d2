"""Development: regression on targets that nobody normalised."""

import functools

import keras
import numpy as np
from keras import layers

from benchmarks.quality import data
from benchmarks.quality.workload import DEVELOPMENT, Workload

BATCH = 64


def halves(images: np.ndarray):
    """The upper half of each image, and the mean grey level of eight squares of the lower one."""
    upper, lower = images[:, :14, :, 0], images[:, 14:, :, 0].astype(np.float32)
    squares = lower.reshape(len(images), 2, 7, 4, 7).mean(axis=(2, 4)).reshape(len(images), 8)
    return upper, squares


@functools.cache
def examples():
    """Training and held-out examples."""
    images = data.fashion()
    return halves(images.training.images), halves(images.validation.images)


def model(seed: int) -> keras.Model:
    """Three hidden layers of 64."""
    keras.utils.set_random_seed(seed)
    hidden = [layers.Dense(64, "relu") for _ in range(3)]
    scale = layers.Rescaling(1 / 255)
    return keras.Sequential(
        [keras.Input((14, 28)), scale, layers.Flatten(), *hidden, layers.Dense(8)]
    )


def training(seed: int, updates: int):
    """Batches of shuffled passes over 60,000 images."""
    x, y = examples()[0]
    chosen = data.draw(len(x), seed, updates, BATCH)
    return x[chosen], y[chosen]


def held_out():
    """10,000 images."""
    x, y = examples()[1]
    return x.reshape(10, -1, *x.shape[1:]), y.reshape(10, -1, *y.shape[1:])


def trivial_loss() -> float:
    """The loss of the training targets' mean."""
    return float(np.mean((examples()[1][1] - examples()[0][1].mean(axis=0)) ** 2))


WORKLOAD = Workload(
    name="dev_regression",
    kind=DEVELOPMENT,
    description="MLP, from half an image to the grey levels (0 to 255) of its other half, AdamW",
    version=1,
    updates=2000,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    model=model,
    optimizer=keras.optimizers.AdamW,
    training=training,
    held_out=held_out,
    trivial_loss=trivial_loss,
    compile=lambda: {"loss": "mse", "metrics": [keras.metrics.MeanAbsoluteError(name="mae")]},
    metric="mae",
)
