"""Development: a character Transformer with normalisation after the residual sums, on code."""

import keras

from benchmarks.quality import networks
from benchmarks.quality.data import CHARACTERS
from benchmarks.quality.workload import FURTHER_DEVELOPMENT, Workload
from benchmarks.quality.workloads import dev_char_gpt as text


def model(seed: int) -> keras.Model:
    """Six blocks of width 32."""
    return networks.language_model(
        seed, CHARACTERS, text.LENGTH, width=32, depth=6, normalise="post"
    )


WORKLOAD = Workload(
    name="dev_post_ln",
    kind=FURTHER_DEVELOPMENT,
    description="post-LN character Transformer (6 blocks of 32) on Python's source, AdamW",
    version=1,
    updates=500,
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    model=model,
    optimizer=networks.papers_adamw,
    training=text.WORKLOAD.training,
    held_out=text.held_out,
    trivial_loss=text.WORKLOAD.trivial_loss,
    compile=networks.classification_arguments,
    metric="accuracy",
)
