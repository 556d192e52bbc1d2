"""Vision Transformers: KerasHub's ViT, with the mean over patches for the head."""

import dataclasses
from typing import ClassVar

import keras
import keras_hub

from recipes.vision.families.base import Shape
from recipes.vision.stochastic_depth import ViTEncoderWithDepth


@dataclasses.dataclass(frozen=True)
class ViT(Shape):
    """The shape of a vision Transformer.

    Args:
        layers: Number of blocks.
        width: Size of the hidden states.
        heads: Attention heads.
        mlp_ratio: Width of the MLP's hidden layer, in units of `width`.
        patch: Side of a patch in pixels.
    """

    layers: int
    width: int
    heads: int
    mlp_ratio: int = 3
    patch: int = 4

    optimizer: ClassVar[str] = "adamw"
    long: ClassVar[bool] = True

    def parameter_count(self, classes: int, image_shape: tuple[int, int, int], library: str) -> int:
        d, hidden, channels = self.width, self.mlp_ratio * self.width, image_shape[2]
        patches = self._patches(image_shape)
        embedding = self.patch**2 * channels * d + d + patches * d
        block = 4 * (d * d + d) + (2 * d * hidden + hidden + d) + 4 * d
        return embedding + self.layers * block + 2 * d + (d + 1) * classes

    def features(
        self,
        images: keras.KerasTensor,
        image_shape: tuple[int, int, int],
        library: str,
        stochastic_depth: float,
    ) -> keras.KerasTensor:
        if library != "keras_hub":
            raise ValueError(
                "KerasCV has no plain vision Transformer (its ViTDet is made for detection at "
                f"1024x1024): use --library keras_hub. Received: library={library!r}"
            )
        if image_shape[0] % self.patch or image_shape[1] % self.patch:
            raise ValueError(
                f"Images of {image_shape[0]}x{image_shape[1]} do not divide into patches; choose "
                f"another --patch. Received: patch={self.patch}"
            )
        backbone = keras_hub.models.ViTBackbone(
            image_shape,
            patch_size=self.patch,
            num_layers=self.layers,
            num_heads=self.heads,
            hidden_dim=self.width,
            mlp_dim=self.mlp_ratio * self.width,
            # The mean over patches is the image's summary, so there is no token for it.
            use_class_token=False,
            name="backbone",
        )
        x = ViTEncoderWithDepth(backbone, stochastic_depth, name="vit")(images)
        return keras.layers.GlobalAveragePooling1D(name="pool")(x)

    def forward_cost(
        self, model: keras.Model, byte: int, fused_attention: bool, products_make_inputs: bool
    ) -> tuple[float, float]:
        image_shape = model.input.shape[1:]
        patches = self._patches(image_shape)
        d, hidden = self.width, self.mlp_ratio * self.width
        embedding = 2 * self.patch**2 * image_shape[2] * d
        block = 8 * d * d + 4 * d * hidden + 4 * patches * d
        # As in `recipes.gpt.cost`: norms and residual stream; attention; the MLP before and after
        # its activation; the softmax of attention in float32. The derivative of the exact GELU
        # takes two more, its error function and its exponential, where they are not made again.
        inside = (10 * d + (2 if products_make_inputs else 4) * hidden) * byte
        square = 0 if fused_attention else self.heads * patches * 4
        return patches * (embedding + self.layers * block), patches * self.layers * (
            inside + square
        )

    @property
    def patch_size(self) -> int | None:
        return self.patch

    def with_patch(self, patch: int | None) -> "ViT":
        return dataclasses.replace(self, patch=patch)

    def attention(self, image_shape: tuple[int, int, int]) -> tuple[int, int] | None:
        return self._patches(image_shape), self.width // self.heads

    def attention_layers(self, model: keras.Model) -> list[keras.layers.Layer]:
        encoder = model.get_layer("vit").backbone.get_layer("vit_encoder")
        return [block.mha for block in encoder.encoder_layers]

    def _patches(self, image_shape) -> int:
        return (image_shape[0] // self.patch) * (image_shape[1] // self.patch)


# vit-tiny is the (H0, H1) paper's, which trains it on ImageNet at 32x32. vit-micro is not from a
# paper: two CPU cores train it in a minute or two.
MODELS = {
    "vit-micro": ViT(layers=4, width=64, heads=4, mlp_ratio=2),
    "vit-tiny": ViT(layers=12, width=192, heads=3),
}
