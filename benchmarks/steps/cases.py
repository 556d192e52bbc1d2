"""What is timed: models as the recipes build them, with batches of random numbers."""

import dataclasses

import keras
import numpy as np

from recipes.gpt.losses import TokenCrossEntropy
from recipes.gpt.model import Size, build_language_model
from recipes.gpt.scale import suit_layers
from recipes.vision.model import ResNet, ViT, build_classifier
from recipes.vision.recipe import prepare

CLASSES = 10
ARCH = "gpt2"
# AdamW and clipping as the recipes have them, at a constant rate.
OPTIMIZER = {
    "learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.95, "epsilon": 1e-7, "weight_decay": 0.1,
    "global_clipnorm": 1.0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and the size of its batch.

    Args:
        name: For files and tables.
        shape: Of the network; a `Size` is a GPT-2.
        batch_size: Windows or images.
        steps: In a block of time: a second and more, since the first steps after an idle time are
            slower.
        vocabulary: Of a GPT.
        context: Of a GPT, tokens in a window.
        image: Of a classifier, the shape of an image.
    """

    name: str
    shape: Size | ResNet | ViT
    batch_size: int
    steps: int = 1
    vocabulary: int = 0
    context: int = 0
    image: tuple[int, int, int] = (32, 32, 3)

    @property
    def is_text(self) -> bool:
        """Whether it is a language model."""
        return isinstance(self.shape, Size)

    @property
    def units(self) -> int:
        """Tokens or images of a batch."""
        return self.batch_size * (self.context if self.is_text else 1)

    @property
    def has_products(self) -> bool:
        """Whether its layers multiply on more than two axes as KerasHub builds them."""
        return not isinstance(self.shape, ResNet)

    def model(self) -> keras.Model:
        """The recipe's model with weights that are the same on each backend."""
        if self.is_text:
            model = build_language_model(ARCH, self.shape, self.vocabulary, self.context)
        else:
            model = build_classifier(self.shape, CLASSES, self.image)
        random = np.random.default_rng(0)
        for variable in model.weights:
            value = keras.ops.convert_to_numpy(variable)
            drawn = random.standard_normal(value.shape).astype("float32")
            if "moving" in variable.path:
                continue
            # Scales and shifts as well, so that one taken for another is seen in the loss.
            fan_in = int(np.prod(value.shape[:-1])) if value.ndim > 1 else 0
            scale = 0.02 if "embedding" in variable.path else fan_in**-0.5 if fan_in else 0.1
            variable.assign(scale * drawn + (value if value.ndim == 1 else 0.0))
        return model

    def suit(self, model: keras.Model) -> None:
        """Arranges a model's products and attention as the recipe does."""
        if self.is_text:
            suit_layers(model, ARCH)
        else:
            prepare(model, self.shape, self.image)

    def loss(self, own: bool = False) -> keras.losses.Loss:
        """The recipe's loss, or Keras' own with the same values."""
        if self.is_text and not own:
            return TokenCrossEntropy()
        if self.is_text:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return keras.losses.CategoricalCrossentropy(from_logits=True)

    def batches(self, count: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
        """Inputs and targets, the same in each process."""
        random = np.random.default_rng(1)
        if self.is_text:
            windows = random.integers(
                0, self.vocabulary, (count, self.batch_size, self.context + 1), "int32"
            )
            return [(w[:, :-1].copy(), w[:, 1:].copy()) for w in windows]
        images = random.standard_normal((count, self.batch_size, *self.image), "float32")
        labels = random.integers(0, CLASSES, (count, self.batch_size))
        return list(zip(images, np.eye(CLASSES, dtype="float32")[labels], strict=True))


CASES = {
    case.name: case
    for case in (
        Case("gpt-demo", Size(4, 128, 4, 384), 16, steps=6, vocabulary=2048, context=128),
        Case("gpt-70m-2-layers", Size(2, 512, 8, 1536), 1, steps=3, vocabulary=50280, context=256),
        Case("resnet8", ResNet((1, 1, 1), (16, 32, 64)), 64, steps=8),
        Case("vit-micro", ViT(layers=4, width=64, heads=4, mlp_ratio=2), 64, steps=8),
    )
}
# For tests: they compile in seconds.
TINY = {
    "gpt": Case("gpt", Size(1, 16, 2, 32), 2, vocabulary=32, context=8),
    "resnet": Case("resnet", ResNet((1, 1), (8, 16)), 4, image=(8, 8, 3)),
    "vit": Case("vit", ViT(layers=1, width=16, heads=2, mlp_ratio=2), 4, image=(8, 8, 3)),
}
