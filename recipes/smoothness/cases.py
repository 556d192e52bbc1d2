"""The runs of each study: a model, its data, its loss, its optimizer."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from recipes.gpt.model import build_language_model
from recipes.smoothness import model as models
from recipes.smoothness.config import Smoothness
from recipes.vision.model import ResNet, ViT, build_classifier


@dataclasses.dataclass(frozen=True)
class Case:
    """One run: a model, its data, its loss, its optimizer.

    Args:
        name: Of the panel and of the files.
        model: Makes the model.
        loss: What is minimised.
        optimizer: Makes the optimizer.
        text: Whether it trains on text, else on images.
        blocks: From the model to named blocks that are measured beside the whole, or `None`.
    """

    name: str
    model: Callable[[], keras.Model]
    loss: Any
    optimizer: Callable[[], keras.optimizers.Optimizer]
    text: bool = True
    blocks: Callable[[keras.Model], dict] | None = None


def transformer_blocks(model: keras.Model) -> dict[str, list[str]]:
    """Embedding, each Transformer block, and head, by the paths of KerasHub's variables."""
    groups: dict[str, list[str]] = {}
    for variable in model.trainable_variables:
        parts = [p for p in variable.path.split("/") if p.startswith("transformer_layer_")]
        if parts:
            name = f"block {parts[0].rsplit('_', 1)[1]}"
        elif "embedding" in variable.path and "reverse" not in variable.path:
            name = "embedding"
        else:
            name = "head"
        groups.setdefault(name, []).append(variable.path)
    return groups


def cases(
    config: Smoothness, image_shape: tuple[int, int, int], classes: int
) -> dict[str, list[Case]]:
    """The runs of each study.

    Args:
        config: Resolved.
        image_shape: Height, width and channels of the images.
        classes: Number of their classes.
    """
    shape = config.shape
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def gpt(kind):
        def make():
            model = build_language_model("llama", shape, config.vocabulary, config.context)
            models.reinitialise(model, kind, shape.layers, config.seed)
            return model

        return make

    def sgd(rate):
        return lambda: keras.optimizers.SGD(rate, global_clipnorm=config.global_clipnorm or None)

    def adam():
        return keras.optimizers.AdamW(config.adam_rate, beta_2=0.95, weight_decay=0.1)

    middle = config.rates[len(config.rates) // 2]
    width, depth = shape.width, shape.layers
    filters = (8, 16) if config.quick else (16, 32, 64)

    def resnet(outputs=classes):
        shape = ResNet((1,) * len(filters), filters)
        return build_classifier(shape, outputs, image_shape)

    def vit():
        patch = 7 if image_shape[0] % 7 == 0 else 2
        return build_classifier(ViT(depth, width, heads=4, patch=patch), classes, image_shape)

    text_size = (config.vocabulary, config.context, width, depth)
    mse = models.on_one_hot(keras.losses.MeanSquaredError(), classes)
    huber = models.on_one_hot(keras.losses.Huber(0.5), classes)
    steady = sgd(middle)
    blocks = transformer_blocks if config.blocks else None
    return {
        "initialisation": [
            Case("depth-scaled", gpt("depth"), cross_entropy, steady, blocks=blocks),
            Case("fixed variance", gpt("fixed"), cross_entropy, steady, blocks=blocks),
        ],
        "rates": [
            *(
                Case(f"SGD {rate:g}", gpt("depth"), cross_entropy, sgd(rate))
                for rate in config.rates
            ),
            Case(f"AdamW {config.adam_rate:g}", gpt("depth"), cross_entropy, adam),
        ],
        "architectures": [
            Case("LSTM", lambda: models.lstm(*text_size), cross_entropy, steady),
            Case(
                "linear attention", lambda: models.performer(*text_size, 4), cross_entropy, steady
            ),
            Case("ResNet", resnet, cross_entropy, sgd(0.5 * middle), text=False),
            Case("ViT", vit, cross_entropy, sgd(0.5 * middle), text=False),
        ],
        "losses": [
            Case("cross-entropy", resnet, cross_entropy, sgd(0.5 * middle), text=False),
            Case("MSE", resnet, mse, sgd(0.5 * middle), text=False),
            Case("Huber", resnet, huber, sgd(0.5 * middle), text=False),
            Case("triplet", lambda: resnet(16), models.triplet(), sgd(0.5 * middle), text=False),
        ],
    }
