"""Evidence: a small residual network with batch normalisation, SGD with momentum, on images.

Kaiming He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
"""

import keras
from keras import layers

from benchmarks.quality import data, networks
from benchmarks.quality.workload import EVIDENCE, Workload

BATCH = 32


def _convolution(x, filters: int, strides: int = 1):
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    # A short run: the averages that evaluation uses must follow within it.
    return layers.BatchNormalization(momentum=0.9)(x)


def _block(x, filters: int, strides: int):
    branch = layers.Activation("relu")(_convolution(x, filters, strides))
    branch = _convolution(branch, filters)
    if strides > 1:
        x = layers.Conv2D(filters, 1, strides, use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.Activation("relu")(x + branch)


def model(seed: int) -> keras.Model:
    """A 4 x 4 stem with stride 4, two blocks of 8 and two of 16 channels."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(8, 4, strides=4, use_bias=False)(layers.Rescaling(1 / 255)(image))
    x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
    for filters, strides in ((8, 1), (8, 1), (16, 2), (16, 1)):
        x = _block(x, filters, strides)
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def optimizer(schedule) -> keras.optimizers.Optimizer:
    """SGD with momentum and weight decay as is usual for residual networks."""
    return keras.optimizers.SGD(schedule, momentum=0.9, weight_decay=5e-4)


WORKLOAD = Workload(
    name="resnet",
    kind=EVIDENCE,
    description="residual network (4 blocks of 8 and 16 channels), Fashion-MNIST, SGD momentum",
    version=1,
    updates=300,
    rates=(3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    model=model,
    optimizer=optimizer,
    training=lambda seed, updates: data.fashion_batches(seed, updates, BATCH),
    held_out=lambda: data.fashion_held_out(2),
    trivial_loss=data.fashion_trivial_loss,
    compile=networks.classification_arguments,
    metric="accuracy",
)
