"""Evidence: two views of the same image are to be recognised among those of all others.

Ting Chen, Simon Kornblith, Mohammad Norouzi, Geoffrey Hinton, "A Simple Framework for Contrastive
Learning of Visual Representations", arXiv 2002.05709: the loss, NT-Xent.
"""

import keras
import numpy as np
from keras import layers, ops

from benchmarks.quality import data
from benchmarks.quality.workload import EVIDENCE, Workload

BATCH, CODE, TEMPERATURE = 64, 32, 0.2
CROP = 20
"""Side of the square that a view shows, of 28."""


def views(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Two views of each image: a random square, perhaps mirrored, its grey levels scaled.

    Args:
        images: Bytes of shape `(count, 28, 28, 1)`.
        generator: Where the views come from.

    Returns:
        Bytes of shape `(count, 2, CROP, CROP, 1)`.
    """
    count = len(images)
    windows = np.lib.stride_tricks.sliding_window_view(images[..., 0], (CROP, CROP), axis=(1, 2))
    top, left = generator.integers(0, 28 - CROP + 1, size=(2, count, 2))
    cut = windows[np.arange(count)[:, None], top, left]
    mirrored = generator.random((count, 2, 1, 1)) < 0.5
    cut = np.where(mirrored, cut[..., ::-1], cut)
    scaled = cut * generator.uniform(0.5, 1.0, size=(count, 2, 1, 1))
    return scaled.astype(np.uint8)[..., None]


def _pairs(images: np.ndarray, batches: int, generator: np.random.Generator):
    x = views(images, generator)
    # The model's answer is judged by itself alone: the targets are zeros that nobody reads.
    return x.reshape(batches, -1, *x.shape[1:]), np.zeros((batches, len(x) // batches), np.float32)


def training(seed: int, updates: int):
    """Views of batches of shuffled passes."""
    images = data.fashion().training.images
    chosen = data.draw(len(images), seed, updates, BATCH).ravel()
    return _pairs(images[chosen], updates, np.random.default_rng([seed, 4]))


def held_out():
    """Views of 1,024 other images, the same for all seeds, in batches as large as in training."""
    images = data.fashion().validation.images[: 16 * BATCH]
    return _pairs(images, 16, np.random.default_rng(5))


def model(seed: int) -> keras.Model:
    """From two views, their two codes side by side, each of length 1: shape `(batch, 2, CODE)`."""
    keras.utils.set_random_seed(seed)
    pair = keras.Input((2, CROP, CROP, 1))
    encoder = keras.Sequential(
        [
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(128, "relu"),
            layers.Dense(128, "relu"),
            layers.Dense(CODE),
        ]
    )
    codes = layers.TimeDistributed(encoder)(pair)
    return keras.Model(pair, layers.UnitNormalization()(codes))


def contrastive_loss(unread, codes):
    """The loss of each pair: cross-entropy of the partner among all other views of the batch."""
    first, second = codes[:, 0], codes[:, 1]
    every = ops.concatenate([first, second])
    count = ops.shape(first)[0]
    similarities = ops.matmul(every, ops.transpose(every)) / TEMPERATURE
    similarities = similarities - 1e9 * ops.eye(2 * count)  # No view is its own partner.
    partners = ops.sum(first * second, axis=-1) / TEMPERATURE
    normalisers = ops.reshape(ops.logsumexp(similarities, axis=-1), (2, -1))
    return ops.mean(normalisers, axis=0) - partners


WORKLOAD = Workload(
    name="contrastive",
    kind=EVIDENCE,
    description="contrastive loss (NT-Xent) on two views of Fashion-MNIST images, MLP, AdamW",
    version=1,
    updates=1000,
    rates=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    model=model,
    optimizer=lambda schedule: keras.optimizers.AdamW(schedule),
    training=training,
    held_out=held_out,
    # All views alike: the partner is one of all others of the batch.
    trivial_loss=lambda: float(np.log(2 * BATCH - 1)),
    compile=lambda: {"loss": contrastive_loss},
)
