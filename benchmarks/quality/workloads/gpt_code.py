"""Evidence: a GPT with normalisation inside the residual branches, on byte-pair pieces of code."""

import keras

from benchmarks.quality import data, networks
from benchmarks.quality.workload import EVIDENCE, Workload

VOCABULARY, LENGTH, BATCH, WIDTH, DEPTH = 512, 32, 16, 32, 4


def model(seed: int, width: int = WIDTH, depth: int = DEPTH) -> keras.Model:
    """Four blocks of width 32 unless stated."""
    return networks.language_model(seed, VOCABULARY, LENGTH, width, depth, normalise="pre")


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
    name="gpt_code",
    kind=EVIDENCE,
    description="pre-LN GPT (4 blocks of 32) on byte-pair pieces of code, AdamW",
    version=1,
    updates=400,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    model=model,
    optimizer=networks.papers_adamw,
    training=training,
    held_out=held_out,
    trivial_loss=trivial_loss,
    compile=networks.classification_arguments,
    metric="accuracy",
)
