"""Development: a character GPT with normalisation inside the residual branches, on code."""

import functools

import keras

from benchmarks.quality import data, networks
from benchmarks.quality.workload import DEVELOPMENT, Workload

LENGTH, BATCH = 32, 16


@functools.cache
def tokens():
    """Training and held-out characters."""
    return tuple(data.characters(text) for text in data.code())


def model(seed: int) -> keras.Model:
    """Two blocks of width 48."""
    return networks.language_model(
        seed, data.CHARACTERS, LENGTH, width=48, depth=2, normalise="pre"
    )


def held_out():
    """16,384 characters."""
    return data.even_windows(tokens()[1], (8, 64), LENGTH)


WORKLOAD = Workload(
    name="dev_char_gpt",
    kind=DEVELOPMENT,
    description="pre-LN character GPT (2 blocks of 48) on Python's source, AdamW",
    version=1,
    updates=800,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    model=model,
    optimizer=networks.papers_adamw,
    training=lambda seed, updates: data.windows(tokens()[0], seed, (updates, BATCH), LENGTH),
    held_out=held_out,
    trivial_loss=lambda: data.unigram_loss(tokens()[0], held_out()[1], data.CHARACTERS),
    compile=networks.classification_arguments,
    metric="accuracy",
)
