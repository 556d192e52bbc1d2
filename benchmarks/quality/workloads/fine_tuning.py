"""Situation: a model that was trained on code goes on with English, with a new optimizer."""

import functools

import numpy as np

from benchmarks.quality import data
from benchmarks.quality.pretrained import trained
from benchmarks.quality.workload import SITUATION, Workload
from benchmarks.quality.workloads import dev_char_gpt as before

RATE = 3e-3
"""The peak rate of the training on code, which `linear-20` warms up."""


@functools.cache
def tokens():
    """Training and held-out characters of English."""
    return tuple(data.characters(text) for text in data.english())


def trained_on_code(seed: int) -> list[np.ndarray]:
    """The weights after `dev_char_gpt` with this seed."""
    return trained(before.WORKLOAD, RATE, seed, label="code")


def held_out():
    """16,384 characters."""
    return data.even_windows(tokens()[1], (8, 64), before.LENGTH)


def training(seed: int, updates: int):
    """Windows of English, as many in a batch as before."""
    return data.windows(tokens()[0], seed, (updates, before.BATCH), before.LENGTH)


WORKLOAD = Workload(
    name="fine_tuning",
    kind=SITUATION,
    description="pre-LN character GPT trained on code goes on with English, AdamW anew",
    version=1,
    updates=400,
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    model=before.model,
    optimizer=before.WORKLOAD.optimizer,
    training=training,
    held_out=held_out,
    trivial_loss=lambda: data.unigram_loss(tokens()[0], held_out()[1], data.CHARACTERS),
    compile=before.WORKLOAD.compile,
    metric="accuracy",
    start=trained_on_code,
)
