"""Situation: code in the first half of the run, English in the second; one vocabulary for both."""

import numpy as np

from benchmarks.quality import data
from benchmarks.quality.workload import EVIDENCE_SITUATION, Workload
from benchmarks.quality.workloads import dev_char_gpt as code
from benchmarks.quality.workloads import fine_tuning as english


def training(seed: int, updates: int):
    """The batches of `dev_char_gpt`, and from the middle on windows of English."""
    before = updates // 2
    parts = (
        code.WORKLOAD.training(seed, before),
        english.WORKLOAD.training(seed, updates - before),
    )
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


WORKLOAD = Workload(
    name="new_data",
    kind=EVIDENCE_SITUATION,
    description="pre-LN character GPT, code in the first half of the run and English in the second",
    version=1,
    updates=800,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    model=code.model,
    optimizer=code.WORKLOAD.optimizer,
    training=training,
    held_out=english.held_out,
    other_held_out=code.held_out,
    trivial_loss=lambda: data.unigram_loss(
        english.tokens()[0], english.held_out()[1], data.CHARACTERS
    ),
    compile=code.WORKLOAD.compile,
    metric="accuracy",
)
