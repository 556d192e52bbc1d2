"""Residual networks for small images: KerasHub's ResNet and KerasCV's ResNetV2."""

import dataclasses
import importlib
import math
from typing import ClassVar

import keras
import keras_hub

from recipes.vision.families.base import Shape
from recipes.vision.stochastic_depth import ResidualDrop, depth_rates

# Of batch normalisation. KerasHub's value; KerasCV's 0.99 would need hundreds of updates before
# the first evaluation means anything.
_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class ResNet(Shape):
    """The shape of a residual network for small images: 3x3 stem of stride 1, no pooling.

    Args:
        blocks: Residual blocks in each stage; each stage but the first halves the image.
        filters: Filters of each stage.
        bottleneck: Whether a block is 1x1, 3x3, 1x1 with four times the filters at its end, or
            two 3x3 convolutions.
    """

    blocks: tuple[int, ...]
    filters: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False

    optimizer: ClassVar[str] = "sgd"

    def parameter_count(self, classes: int, image_shape: tuple[int, int, int], library: str) -> int:
        channels, v2 = image_shape[2], library == "keras_cv"
        # KerasCV puts a bias on the stem, on shortcuts and on the last convolution of a bottleneck.
        bias, expand = int(v2), 4 if self.bottleneck else 1
        size = before = self.filters[0]
        total = 9 * channels * size + bias * size + (0 if v2 else 4 * size)
        for stage, (blocks, f) in enumerate(zip(self.blocks, self.filters, strict=True)):
            after = expand * f
            for index in range(blocks):
                if self.bottleneck:
                    total += before * f + 9 * f * f + f * after + bias * after
                    total += 4 * (f + f + (before if v2 else after))
                else:
                    total += 9 * before * f + 9 * f * f
                    total += 4 * (f + (before if v2 else f))
                if index == 0 and (self.bottleneck or stage > 0):
                    total += before * after + (bias * after if v2 else 4 * after)
                before = after
        return total + (4 * before if v2 else 0) + (before + 1) * classes

    def features(
        self,
        images: keras.KerasTensor,
        image_shape: tuple[int, int, int],
        library: str,
        stochastic_depth: float,
    ) -> keras.KerasTensor:
        backbone = _library_resnet(self, image_shape, library)
        x = small_images(backbone, self.filters[0], stochastic_depth)(images)
        return keras.layers.GlobalAveragePooling2D(name="pool")(x)

    def forward_cost(
        self, model: keras.Model, byte: int, fused_attention: bool, products_make_inputs: bool
    ) -> tuple[float, float]:
        backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        products = kept = 0
        for layer in backbone.layers:
            if isinstance(layer, keras.layers.Conv2D):
                _, height, width, features = layer.output.shape
                kernel = layer.kernel.shape
                outputs = height * width * features
                products += 2 * outputs * kernel[0] * kernel[1] * kernel[2]
                # Its result, which normalisation goes back through, and the normalised one, which
                # is the next one's input.
                kept += outputs * byte * (1 if products_make_inputs else 2)
            elif products_make_inputs and isinstance(layer, (keras.layers.Add, ResidualDrop)):
                # Inputs are made again from the sums at the ends of the blocks.
                kept += math.prod(layer.output.shape[1:]) * byte
        return products, kept


# resnet50 is the (H0, H1) paper's, which trains it on ImageNet at 32x32. resnet8 is not from a
# paper: two CPU cores train it in a minute or two.
MODELS = {
    "resnet8": ResNet((1, 1, 1), (16, 32, 64)),
    "resnet18": ResNet((2, 2, 2, 2)),
    "resnet34": ResNet((3, 4, 6, 3)),
    "resnet50": ResNet((3, 4, 6, 3), bottleneck=True),
}


def _keras_cv():
    try:
        return importlib.import_module("keras_cv")
    except ImportError as error:
        raise ImportError(
            'KerasCV is not installed: pip install "keras-h0h1[cv]". Its successor is KerasHub, '
            f"--library keras_hub. Received: library='keras_cv' ({error})"
        ) from None


def _library_resnet(shape: ResNet, image_shape: tuple[int, int, int], library: str) -> keras.Model:
    """The library's ResNet, with its own stem for large images and its own widths."""
    # Both libraries fix the first stage at 64 filters; `small_images` brings it to size.
    filters = [64 * f // shape.filters[0] for f in shape.filters]
    strides = [1] + [2] * (len(shape.blocks) - 1)
    if library == "keras_cv":
        if min(shape.blocks) < 2:
            raise ValueError(
                "KerasCV's ResNetV2 has two blocks at least in each stage: resnet18, resnet34, "
                f"resnet50; or use --library keras_hub. Received: blocks={shape.blocks}"
            )
        return _keras_cv().models.ResNetV2Backbone(
            stackwise_filters=filters,
            stackwise_blocks=list(shape.blocks),
            stackwise_strides=strides,
            include_rescaling=False,
            block_type="block" if shape.bottleneck else "basic_block",
            input_shape=image_shape,
        )
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=filters,
        stackwise_num_blocks=list(shape.blocks),
        stackwise_num_strides=strides,
        block_type="bottleneck_block" if shape.bottleneck else "basic_block",
        image_shape=image_shape,
    )


def small_images(backbone: keras.Model, first_filters: int, stochastic_depth: float) -> keras.Model:
    """The same network with a 3x3 stem of stride 1, without pooling.

    Neither library has an argument for it: stride, pooling and the 64 filters of the first stage
    are fixed in their code. The graph is copied layer by layer instead, with these few changed,
    so that everything else stays the library's.

    Args:
        backbone: KerasHub's or KerasCV's.
        first_filters: Filters of stem and first stage; all others keep their ratio to it.
        stochastic_depth: Rate at which the last block's residual branch is dropped in training;
            those before it less, in proportion to their depth.
    """
    additions = [layer.name for layer in backbone.layers if isinstance(layer, keras.layers.Add)]
    rates = dict(zip(additions, depth_rates(len(additions), stochastic_depth), strict=True))

    def change(layer):
        config = layer.get_config()
        # Padding of 1 and a 3x3 kernel: with stride 1 the image keeps its size.
        if layer.name in ("pool1_pad", "pool1_pool"):
            return keras.layers.Identity(name=layer.name)
        if layer.name in rates and stochastic_depth:
            return ResidualDrop(rates[layer.name], name=layer.name, dtype=layer.dtype_policy)
        if layer.name == "conv1_conv":
            config.update(kernel_size=(3, 3), strides=(1, 1))
        if isinstance(layer, keras.layers.Conv2D):
            config["filters"] = config["filters"] * first_filters // 64
        if isinstance(layer, keras.layers.BatchNormalization):
            config["momentum"] = _MOMENTUM
        return type(layer).from_config(config)

    return keras.models.clone_model(backbone, clone_function=change)
