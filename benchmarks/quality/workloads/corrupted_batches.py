"""Situation: one batch in a hundred is noise, with gradient clipping in all methods."""

import numpy as np

from benchmarks.quality import data
from benchmarks.quality.workload import CORRUPTED, Workload
from benchmarks.quality.workloads import dev_char_gpt as clean

SHARE = 0.01


def training(seed: int, updates: int):
    """The batches of `dev_char_gpt`; after the 50th, each is noise with a chance of `SHARE`.

    Noise: inputs and targets are characters drawn evenly.
    """
    x, y = clean.WORKLOAD.training(seed, updates)
    generator = np.random.default_rng([seed, 3])
    corrupted = (generator.random(updates) < SHARE) & (np.arange(updates) >= 50)
    noise = generator.integers(0, data.CHARACTERS, size=(2, corrupted.sum(), *x.shape[1:]))
    x, y = x.copy(), y.copy()
    x[corrupted], y[corrupted] = noise
    return x, y


WORKLOAD = Workload(
    name="corrupted_batches",
    kind=CORRUPTED,
    description="dev_char_gpt with one batch of noise in a hundred, global clipping at 1",
    version=1,
    updates=800,
    rates=(3e-3, 1e-2, 3e-2),
    model=clean.model,
    optimizer=clean.WORKLOAD.optimizer,
    training=training,
    held_out=clean.held_out,
    trivial_loss=clean.WORKLOAD.trivial_loss,
    compile=clean.WORKLOAD.compile,
    metric="accuracy",
)
