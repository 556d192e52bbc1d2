"""Development: a deep plain network without normalisation, on images."""

import keras
from keras import layers

from benchmarks.quality import data, networks
from benchmarks.quality.workload import DEVELOPMENT, Workload

BATCH, DEPTH, WIDTH = 64, 16, 64


def model(seed: int) -> keras.Model:
    """Sixteen hidden layers of 64, with He's initialisation."""
    keras.utils.set_random_seed(seed)
    hidden = [layers.Dense(WIDTH, "relu", kernel_initializer="he_normal") for _ in range(DEPTH)]
    scale = layers.Rescaling(1 / 255)
    return keras.Sequential(
        [keras.Input((28, 28, 1)), scale, layers.Flatten(), *hidden, layers.Dense(10)]
    )


WORKLOAD = Workload(
    name="dev_mlp_deep",
    kind=DEVELOPMENT,
    description="plain network, 16 hidden layers, no normalisation, Fashion-MNIST, SGD momentum",
    version=1,
    updates=1500,
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    model=model,
    optimizer=lambda schedule: keras.optimizers.SGD(schedule, momentum=0.9),
    training=lambda seed, updates: data.fashion_batches(seed, updates, BATCH),
    held_out=data.fashion_held_out,
    trivial_loss=data.fashion_trivial_loss,
    compile=networks.classification_arguments,
    metric="accuracy",
)
