"""Situation: one batch in a hundred has labels drawn at random, with clipping in all methods."""

import keras
import numpy as np

from benchmarks.quality.workload import CORRUPTED, Workload
from benchmarks.quality.workloads import vit as clean
from benchmarks.quality.workloads.corrupted_batches import SHARE


def training(seed: int, updates: int):
    """The batches of `vit`; after the 50th, each has random labels with a chance of `SHARE`."""
    x, y = clean.WORKLOAD.training(seed, updates)
    generator = np.random.default_rng([seed, 3])
    corrupted = (generator.random(updates) < SHARE) & (np.arange(updates) >= 50)
    y = y.copy()
    y[corrupted] = generator.integers(0, 10, size=(corrupted.sum(), *y.shape[1:]))
    return x, y


WORKLOAD = Workload(
    name="corrupted_labels",
    kind=CORRUPTED,
    description="vit with one batch of random labels in a hundred, global clipping at 1",
    version=1,
    updates=600,
    rates=(3e-4, 1e-3, 3e-3),
    model=clean.model,
    optimizer=lambda schedule: keras.optimizers.AdamW(
        schedule, weight_decay=0.05, global_clipnorm=1.0
    ),
    training=training,
    held_out=clean.WORKLOAD.held_out,
    trivial_loss=clean.WORKLOAD.trivial_loss,
    compile=clean.WORKLOAD.compile,
    metric="accuracy",
)
