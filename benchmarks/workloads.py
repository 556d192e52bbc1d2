"""Small real models on data that is at hand: what a suggestion is measured against."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """A model, its data and a grid of rates.

    Args:
        name: For tables.
        model: From a loss and weights' seed to a model that is not compiled.
        optimizer: From a rate, a float or a schedule, to a Keras optimizer.
        loss: The loss.
        data: Training arrays `(x, y)`.
        rates: The grid.
        batch_size: Examples in a batch.
    """

    name: str
    model: Callable[[], keras.Model]
    optimizer: Callable
    loss: keras.losses.Loss
    data: tuple[np.ndarray, np.ndarray]
    rates: tuple[float, ...]
    batch_size: int

    def compiled(self, optimizer, seed: int) -> keras.Model:
        """The model with the weights of `seed`."""
        keras.utils.set_random_seed(seed)
        model = self.model()
        model.compile(optimizer, self.loss)
        return model


def grid(highest: float) -> tuple[float, ...]:
    """Six rates a factor 3 apart, rounded to one digit."""
    return tuple(float(f"{highest / 3**k:.0e}") for k in range(5, -1, -1))


def _digits():
    from recipes.vision.batches import normalise
    from recipes.vision.data.digits import load

    data = load()
    return normalise(data.training.images, data.mean, data.std), data.training.labels


def _cnn():
    def block(filters, strides):
        return [
            keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
        ]

    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), *block(16, 1), *block(32, 2), *head])


def _diabetes():
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    x, y = (x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None]
    return x.astype("float32"), y.astype("float32")


def _mlp():
    hidden = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((10,)), *hidden, keras.layers.Dense(1)])


def _text(vocabulary: int, context: int, windows: int):
    from recipes.text.batches import TokenBatches
    from recipes.text.tokens import load_corpus

    corpus = load_corpus((), vocabulary)
    return TokenBatches(corpus.training, context, windows, seed=0)[0]


def _gpt():
    from recipes.gpt.model import Size, build_language_model

    return build_language_model("gpt2", Size(2, 64, 2, 192), 512, 32)


def workloads(names: tuple[str, ...] | None = None) -> list[Workload]:
    """Those of these names; all by default."""
    adamw = keras.optimizers.AdamW
    labels = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    squares = keras.losses.MeanSquaredError()

    def momentum(rate):
        return keras.optimizers.SGD(rate, momentum=0.9)

    made = {
        "mlp": lambda: Workload(
            "MLP, diabetes, Adam", _mlp, keras.optimizers.Adam, squares, _diabetes(), grid(0.1), 32
        ),
        "cnn": lambda: Workload(
            "CNN, digits, SGD with momentum", _cnn, momentum, labels, _digits(), grid(3.0), 32
        ),
        "gpt": lambda: Workload(
            "GPT-2, Python source, AdamW", _gpt, adamw, labels, _text(512, 32, 3200), grid(0.1), 16
        ),
        "mlp-sgd": lambda: Workload(
            "MLP, diabetes, SGD", _mlp, keras.optimizers.SGD, squares, _diabetes(), grid(1.0), 32
        ),
        "cnn-adam": lambda: Workload(
            "CNN, digits, Adam", _cnn, keras.optimizers.Adam, labels, _digits(), grid(0.3), 32
        ),
    }
    return [made[name]() for name in names or made]
