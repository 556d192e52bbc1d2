"""Language models of the papers' kind at three sizes; each has a file in `workloads`."""

import functools

from benchmarks.quality import data, networks
from benchmarks.quality.workload import SIZE, Workload

VOCABULARY, LENGTH, BATCH = 2048, 128, 8
EVALUATIONS = 12
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
"""One is chosen for each size."""


def training(seed: int, updates: int):
    """Windows of 128 byte-pair pieces of code."""
    return data.windows(data.code_pieces(VOCABULARY)[0], seed, (updates, BATCH), LENGTH)


def held_out():
    """8,192 pieces."""
    return data.even_windows(data.code_pieces(VOCABULARY)[1], (8, BATCH), LENGTH)


def trivial_loss() -> float:
    """The loss of the pieces' frequencies."""
    return data.unigram_loss(data.code_pieces(VOCABULARY)[0], held_out()[1], VOCABULARY)


def sized(name: str, parameters: str, width: int, depth: int) -> Workload:
    """The workload of one size.

    Args:
        name: The name of its file.
        parameters: Their number in words.
        width: Of the residual stream.
        depth: Number of blocks.
    """
    model = functools.partial(
        networks.language_model,
        vocabulary=VOCABULARY,
        length=LENGTH,
        width=width,
        depth=depth,
        normalise="pre",
    )
    return Workload(
        name=name,
        kind=SIZE,
        description=f"pre-LN GPT of {parameters} parameters ({depth} blocks of {width}) on "
        "byte-pair pieces of code, AdamW",
        version=1,
        updates=240,
        rates=RATES,
        model=model,
        optimizer=networks.papers_adamw,
        training=training,
        held_out=held_out,
        trivial_loss=trivial_loss,
        compile=networks.classification_arguments,
        metric="accuracy",
        evaluations=EVALUATIONS,
    )
