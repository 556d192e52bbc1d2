"""Situation: a model that was trained on code goes on with English, with a new optimizer."""

import functools

import numpy as np

from benchmarks.quality import data
from benchmarks.quality.workload import SITUATION, Workload
from benchmarks.quality.workloads import dev_char_gpt as before
from recipes.common.files.writing import atomic
from recipes.text.tokenizer import cache_folder

RATE = 3e-3
"""The peak rate of the training on code, which `linear-20` warms up."""


@functools.cache
def tokens():
    """Training and held-out characters of English."""
    return tuple(data.characters(text) for text in data.english())


def trained(workload: Workload, rate: float, seed: int, label: str = "") -> list[np.ndarray]:
    """The weights after `workload` with this seed; trained once, then read from the cache.

    Args:
        workload: What is trained.
        rate: The peak rate, which `linear-20` warms up.
        seed: Of weights and batches.
        label: The first part of the file's name; the workload's unless stated.
    """
    from benchmarks.quality.methods import LINEAR
    from benchmarks.quality.trial import Program, data_digest

    digest = data_digest(workload)
    name = f"{label or workload.name}-{workload.version}-{seed}-{digest}.npz"
    path = cache_folder() / "quality" / name
    if path.exists():
        with np.load(path) as saved:
            return [saved[f"{index:03}"] for index in range(len(saved.files))]
    program = Program(workload, LINEAR[2])
    weights = program.run(LINEAR[2], rate, seed, workload.updates)["weights"]
    with atomic(path) as partial:
        np.savez(partial, **{f"{index:03}": value for index, value in enumerate(weights)})
    return weights


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
