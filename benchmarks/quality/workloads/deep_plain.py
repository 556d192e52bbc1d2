"""Evidence: a deep plain network of tanh layers without normalisation, SGD, on images."""

import keras
from keras import layers

from benchmarks.quality import data, networks
from benchmarks.quality.workload import EVIDENCE, Workload

BATCH, DEPTH, WIDTH = 64, 32, 64


def model(seed: int) -> keras.Model:
    """Thirty-two hidden layers of 64, with Glorot's initialisation."""
    keras.utils.set_random_seed(seed)
    hidden = [layers.Dense(WIDTH, "tanh") for _ in range(DEPTH)]
    scale = layers.Rescaling(1 / 127.5, offset=-1.0)
    return keras.Sequential(
        [keras.Input((28, 28, 1)), scale, layers.Flatten(), *hidden, layers.Dense(10)]
    )


WORKLOAD = Workload(
    name="deep_plain",
    kind=EVIDENCE,
    description="plain network, 32 hidden layers of tanh, no normalisation, Fashion-MNIST, SGD",
    version=1,
    updates=2000,
    rates=(3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    model=model,
    optimizer=lambda schedule: keras.optimizers.SGD(schedule),
    training=lambda seed, updates: data.fashion_batches(seed, updates, BATCH),
    held_out=data.fashion_held_out,
    trivial_loss=data.fashion_trivial_loss,
    compile=networks.classification_arguments,
    metric="accuracy",
)
