"""What the recipe has to know of a family of image models."""

import abc
import dataclasses
from typing import ClassVar, Self

import keras


@dataclasses.dataclass(frozen=True)
class Shape(abc.ABC):
    """The shape of one model of a family; its fields are the family's.

    Attributes:
        optimizer: What such networks are usually trained with, `"sgd"` or `"adamw"`.
        long: Whether `--quick` takes the longer of a data set's two lengths.
    """

    optimizer: ClassVar[str]
    long: ClassVar[bool] = False

    @abc.abstractmethod
    def parameter_count(self, classes: int, image_shape: tuple[int, int, int], library: str) -> int:
        """The number of weights in closed form, moving statistics included."""

    @abc.abstractmethod
    def features(
        self,
        images: keras.KerasTensor,
        image_shape: tuple[int, int, int],
        library: str,
        stochastic_depth: float,
    ) -> keras.KerasTensor:
        """The features `(batch, n)` that the head classifies.

        One layer of the model is a `keras.Model`, the backbone that is exported, or a layer with
        the method `task`, as `ViTEncoderWithDepth`.
        """

    @abc.abstractmethod
    def forward_cost(
        self, model: keras.Model, byte: int, fused_attention: bool, products_make_inputs: bool
    ) -> tuple[float, float]:
        """Operations of a forward pass and bytes that it leaves, for one image, without the head.

        Args:
            model: From `build_classifier`.
            byte: Bytes of an activation.
            fused_attention: Whether attention's weights are never written down.
            products_make_inputs: Whether convolutions and matrix products make their inputs again
                while they run: see `recipes.vision.cost`.
        """

    @property
    def patch_size(self) -> int | None:
        """The side of a patch in pixels; `None` for a family that has none."""
        return None

    def with_patch(self, patch: int | None) -> Self:
        """The same shape with patches of this size."""
        return self

    def attention(self, image_shape: tuple[int, int, int]) -> tuple[int, int] | None:
        """Length and dimension of a head; `None` for a family without attention."""
        return None

    def attention_layers(self, model: keras.Model) -> list[keras.layers.Layer]:
        """The layers of `build_classifier`'s model that compute it, without a mask."""
        return []
