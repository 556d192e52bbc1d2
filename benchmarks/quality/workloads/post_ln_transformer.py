"""Test: a Transformer with normalisation after the residual sums, which is known to need warm-up.

Ruibin Xiong et al., "On Layer Normalization in the Transformer Architecture", arXiv 2002.04745.
"""

import keras

from benchmarks.quality import data, networks
from benchmarks.quality.workload import TEST, Workload

VOCABULARY, LENGTH, BATCH = 512, 32, 16


def model(seed: int) -> keras.Model:
    """Four blocks of width 48."""
    return networks.language_model(seed, VOCABULARY, LENGTH, 48, depth=4, normalise="post")


def training(seed: int, updates: int):
    """Windows of 32 byte-pair pieces of code."""
    return data.windows(data.code_pieces(VOCABULARY)[0], seed, (updates, BATCH), LENGTH)


def held_out():
    """16,384 pieces."""
    return data.even_windows(data.code_pieces(VOCABULARY)[1], (8, 64), LENGTH)


def trivial_loss() -> float:
    """The loss of the pieces' frequencies."""
    return data.unigram_loss(data.code_pieces(VOCABULARY)[0], held_out()[1], VOCABULARY)


WORKLOAD = Workload(
    name="post_ln_transformer",
    kind=TEST,
    description="post-LN Transformer (4 blocks of 48) on byte-pair pieces of code, AdamW",
    version=1,
    updates=600,
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    model=model,
    optimizer=networks.papers_adamw,
    training=training,
    held_out=held_out,
    trivial_loss=trivial_loss,
    compile=networks.classification_arguments,
    metric="accuracy",
)
