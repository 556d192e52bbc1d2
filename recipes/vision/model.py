"""Image classifiers: KerasHub's ResNet and ViT in the papers' shapes, and KerasCV's ResNetV2."""

import dataclasses
import importlib
import math
from typing import ClassVar

import keras
import keras_hub

from recipes.vision.stochastic_depth import ResidualDrop, ViTEncoderWithDepth, depth_rates

LIBRARIES = ("keras_hub", "keras_cv")


@dataclasses.dataclass(frozen=True)
class ResNet:
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

    # What such networks are customarily trained with.
    optimizer: ClassVar[str] = "sgd"


@dataclasses.dataclass(frozen=True)
class ViT:
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


# resnet50 and vit-tiny are the (H0, H1) paper's, which trains them on ImageNet at 32x32;
# resnet8 and vit-micro are of our making: what two CPU cores train in a minute or two.
MODELS: dict[str, ResNet | ViT] = {
    "resnet8": ResNet((1, 1, 1), (16, 32, 64)),
    "resnet18": ResNet((2, 2, 2, 2)),
    "resnet34": ResNet((3, 4, 6, 3)),
    "resnet50": ResNet((3, 4, 6, 3), bottleneck=True),
    "vit-micro": ViT(layers=4, width=64, heads=4, mlp_ratio=2),
    "vit-tiny": ViT(layers=12, width=192, heads=3),
}

# Of batch normalisation. KerasHub's value; KerasCV's 0.99 would need hundreds of updates before
# the first evaluation means anything.
_MOMENTUM = 0.9


def parameter_count(
    shape: ResNet | ViT,
    classes: int,
    image_shape: tuple[int, int, int],
    library: str = "keras_hub",
) -> int:
    """The number of weights, moving statistics of batch normalisation included, in closed form.

    Args:
        shape: The model's, with the patch that is used.
        classes: Number of logits.
        image_shape: Height, width, channels.
        library: `"keras_hub"` or `"keras_cv"`.

    Example: the paper's models for ImageNet at 32x32.

    >>> parameter_count(MODELS["resnet50"], 1000, (32, 32, 3))
    25602472
    >>> parameter_count(MODELS["vit-tiny"], 1000, (32, 32, 3))
    4666408
    """
    height, width, channels = image_shape
    if isinstance(shape, ViT):
        d, hidden = shape.width, shape.mlp_ratio * shape.width
        patches = (height // shape.patch) * (width // shape.patch)
        embedding = shape.patch**2 * channels * d + d + patches * d
        block = 4 * (d * d + d) + (2 * d * hidden + hidden + d) + 4 * d
        return embedding + shape.layers * block + 2 * d + (d + 1) * classes
    v2 = library == "keras_cv"
    # KerasCV puts a bias on the stem, on shortcuts and on the last convolution of a bottleneck.
    bias, expand = int(v2), 4 if shape.bottleneck else 1
    size = before = shape.filters[0]
    total = 9 * channels * size + bias * size + (0 if v2 else 4 * size)
    for stage, (blocks, f) in enumerate(zip(shape.blocks, shape.filters, strict=True)):
        after = expand * f
        for index in range(blocks):
            if shape.bottleneck:
                total += before * f + 9 * f * f + f * after + bias * after
                total += 4 * (f + f + (before if v2 else after))
            else:
                total += 9 * before * f + 9 * f * f
                total += 4 * (f + (before if v2 else f))
            if index == 0 and (shape.bottleneck or stage > 0):
                total += before * after + (bias * after if v2 else 4 * after)
            before = after
    return total + (4 * before if v2 else 0) + (before + 1) * classes


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


def build_classifier(
    shape: ResNet | ViT,
    classes: int,
    image_shape: tuple[int, int, int],
    library: str = "keras_hub",
    stochastic_depth: float = 0.0,
) -> keras.Model:
    """A Keras model from images to logits.

    Args:
        shape: One of `MODELS`, or of your own.
        classes: Number of logits.
        image_shape: Height, width, channels.
        library: `"keras_hub"` (ResNet, ViT) or `"keras_cv"` (ResNetV2: normalisation and ReLU
            before each convolution, stride in a stage's last block).
        stochastic_depth: Rate at which the last block's residual branch is dropped in training.
            Defaults to 0.

    Returns:
        `(batch, height, width, channels)` float32 to `(batch, classes)` float32.

    Raises:
        ImportError: If KerasCV is wanted and not installed.
        ValueError: If the library has no such model, or patches do not fit the images.
    """
    images = keras.Input(image_shape, name="images")
    if isinstance(shape, ViT):
        if library != "keras_hub":
            raise ValueError(
                "KerasCV has no plain vision Transformer (its ViTDet is made for detection at "
                f"1024x1024): use --library keras_hub. Received: library={library!r}"
            )
        if image_shape[0] % shape.patch or image_shape[1] % shape.patch:
            raise ValueError(
                f"Images of {image_shape[0]}x{image_shape[1]} do not divide into patches; choose "
                f"another --patch. Received: patch={shape.patch}"
            )
        backbone = keras_hub.models.ViTBackbone(
            image_shape,
            patch_size=shape.patch,
            num_layers=shape.layers,
            num_heads=shape.heads,
            hidden_dim=shape.width,
            mlp_dim=shape.mlp_ratio * shape.width,
            # The mean over patches is the image's summary, so there is no token for it.
            use_class_token=False,
            name="backbone",
        )
        x = ViTEncoderWithDepth(backbone, stochastic_depth, name="vit")(images)
        x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    else:
        backbone = small_images(
            _library_resnet(shape, image_shape, library), shape.filters[0], stochastic_depth
        )
        x = backbone(images)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    # In float32 whatever the precision: the loss is taken of it.
    logits = keras.layers.Dense(classes, dtype="float32", name="head")(x)
    return keras.Model(images, logits, name="classifier")


def entropy_of_smoothed(label_smoothing: float, classes: int) -> float:
    r"""The least cross-entropy that smoothed labels allow: their entropy.

    With smoothing $\epsilon$ and $K$ classes the true class has $1 - \epsilon + \epsilon / K$ and
    each other one $\epsilon / K$.

    Example:

    >>> entropy_of_smoothed(0.0, 10), round(entropy_of_smoothed(0.1, 10), 4)
    (0.0, 0.5003)
    """
    if not label_smoothing:
        return 0.0
    other = label_smoothing / classes
    true = 1.0 - label_smoothing + other
    # At a smoothing of 1 and one class there is nothing but the true one.
    return -true * math.log(true) - (classes - 1) * other * math.log(other)
