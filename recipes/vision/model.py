"""Image classifiers: KerasHub's ResNet and ViT in the papers' shapes, and KerasCV's ResNetV2."""

import math

import keras

from recipes.vision.families import MODELS as MODELS
from recipes.vision.families import ResNet as ResNet
from recipes.vision.families import Shape as Shape
from recipes.vision.families import ViT as ViT

LIBRARIES = ("keras_hub", "keras_cv")


def parameter_count(
    shape: Shape,
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
    return shape.parameter_count(classes, image_shape, library)


def build_classifier(
    shape: Shape,
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
    x = shape.features(images, image_shape, library, stochastic_depth)
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
