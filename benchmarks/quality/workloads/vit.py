"""Test: a small vision Transformer on Fashion-MNIST."""

import keras
from keras import layers, ops

from benchmarks.quality import data, networks
from benchmarks.quality.workload import TEST, Workload

PATCH, WIDTH, BATCH = 7, 48, 32


def model(seed: int) -> keras.Model:
    """Patches of 7 x 7, two blocks of width 48, the mean over the patches."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((28, 28, 1))
    patches = layers.Conv2D(WIDTH, PATCH, strides=PATCH)(layers.Rescaling(1 / 255)(image))
    x = layers.Reshape((16, WIDTH))(patches)
    x = x + layers.Embedding(16, WIDTH)(ops.arange(16))
    x = networks.transformer(x, depth=2, heads=4, causal=False, normalise="pre")
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


WORKLOAD = Workload(
    name="vit",
    kind=TEST,
    description="vision Transformer (patch 7, 2 blocks of 48) on Fashion-MNIST, AdamW",
    version=1,
    updates=600,
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    model=model,
    optimizer=lambda schedule: keras.optimizers.AdamW(schedule, weight_decay=0.05),
    training=lambda seed, updates: data.fashion_batches(seed, updates, BATCH),
    held_out=lambda: data.fashion_held_out(4),
    trivial_loss=data.fashion_trivial_loss,
    compile=networks.classification_arguments,
    metric="accuracy",
)
