"""Situation: smoothed labels, which keep the loss from falling to half of its first value."""

import functools

import keras
import numpy as np
from keras import ops

from benchmarks.quality import data, networks
from benchmarks.quality.workload import SITUATION, Workload

LENGTH, BATCH, SMOOTHING = 32, 16, 0.2


@functools.cache
def tokens():
    """Training and held-out characters."""
    return tuple(data.characters(text) for text in data.english())


def model(seed: int) -> keras.Model:
    """Two blocks of width 48."""
    return networks.language_model(seed, data.CHARACTERS, LENGTH, 48, depth=2, normalise="pre")


def smoothed_loss(y, logits):
    """Cross-entropy with a share of each label spread evenly over all classes."""
    logarithms = ops.log_softmax(logits, axis=-1)
    # Keras hands labels over in the dtype of the logits.
    y = ops.expand_dims(ops.cast(y, "int32"), -1)
    true = ops.squeeze(ops.take_along_axis(logarithms, y, axis=-1), -1)
    return -(1.0 - SMOOTHING) * true - SMOOTHING * ops.mean(logarithms, axis=-1)


def held_out():
    """16,384 characters."""
    return data.even_windows(tokens()[1], (8, 64), LENGTH)


def trivial_loss() -> float:
    """The loss of the characters' frequencies, smoothed as the labels are."""

    def smoothed(ids):
        counts = np.bincount(np.ravel(ids), minlength=data.CHARACTERS)
        return (1.0 - SMOOTHING) * counts / counts.sum() + SMOOTHING / data.CHARACTERS

    return float(-np.sum(smoothed(held_out()[1]) * np.log(smoothed(tokens()[0]))))


def compile_arguments() -> dict:
    """The smoothed loss; the plain cross-entropy is the metric."""
    plain = keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="cross_entropy")
    return {"loss": smoothed_loss, "metrics": [plain]}


WORKLOAD = Workload(
    name="label_smoothing",
    kind=SITUATION,
    description="pre-LN character GPT on English, a fifth of each label smoothed, AdamW",
    version=1,
    updates=800,
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    model=model,
    optimizer=networks.papers_adamw,
    training=lambda seed, updates: data.windows(tokens()[0], seed, (updates, BATCH), LENGTH),
    held_out=held_out,
    trivial_loss=trivial_loss,
    compile=compile_arguments,
    metric="cross_entropy",
)
