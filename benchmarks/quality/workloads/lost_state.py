"""Situation: a training goes on with the same text from its weights alone, the optimizer anew."""

from benchmarks.quality import data
from benchmarks.quality.workload import EVIDENCE_SITUATION, Workload
from benchmarks.quality.workloads import dev_char_gpt as before
from benchmarks.quality.workloads.fine_tuning import trained_on_code

_LATER = 1000
"""Added to the seed: other batches than those that the weights come from."""


def training(seed: int, updates: int):
    """Windows of code that the first part of the training did not draw."""
    return before.WORKLOAD.training(seed + _LATER, updates)


WORKLOAD = Workload(
    name="lost_state",
    kind=EVIDENCE_SITUATION,
    description="pre-LN character GPT trained on code goes on with code, AdamW anew",
    version=1,
    updates=400,
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    model=before.model,
    optimizer=before.WORKLOAD.optimizer,
    training=training,
    held_out=before.held_out,
    trivial_loss=lambda: data.unigram_loss(
        before.tokens()[0], before.held_out()[1], data.CHARACTERS
    ),
    compile=before.WORKLOAD.compile,
    metric="accuracy",
    start=trained_on_code,
)
