"""Test: a recurrent language model on English."""

import functools

import keras
from keras import layers

from benchmarks.quality import data, networks
from benchmarks.quality.workload import TEST, Workload

LENGTH, BATCH = 32, 16


@functools.cache
def tokens():
    """Training and held-out characters."""
    return tuple(data.characters(text) for text in data.english())


def model(seed: int) -> keras.Model:
    """Two layers of 64."""
    keras.utils.set_random_seed(seed)
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(data.CHARACTERS, 64)(ids)
    for _ in range(2):
        x = layers.LSTM(64, return_sequences=True)(x)
    return keras.Model(ids, layers.Dense(data.CHARACTERS)(x))


def held_out():
    """16,384 characters."""
    return data.even_windows(tokens()[1], (8, 64), LENGTH)


WORKLOAD = Workload(
    name="lstm",
    kind=TEST,
    description="LSTM (2 layers of 64), characters of the English of Python's help, AdamW",
    version=1,
    updates=800,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    model=model,
    optimizer=lambda schedule: keras.optimizers.AdamW(schedule, global_clipnorm=1.0),
    training=lambda seed, updates: data.windows(tokens()[0], seed, (updates, BATCH), LENGTH),
    held_out=held_out,
    trivial_loss=lambda: data.unigram_loss(tokens()[0], held_out()[1], data.CHARACTERS),
    compile=networks.classification_arguments,
    metric="accuracy",
)
