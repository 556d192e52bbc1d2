"""What is done to training images, and how strongly; each batch the same whenever it is made."""

import dataclasses

import keras
import numpy as np

from recipes.vision.keras_layers import PureLayer, draw_seed
from recipes.vision.rand_augment import RandAugment


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Which augmentations, each off by default.

    Args:
        crop: Pixels of black border added on each side before a window of the image's own size
            is cut out at random, for each image; 4 is usual at 32 x 32.
        flip: Mirrors half of the images left to right. Not for digits or text.
        mixup: Each image is blended with another of the batch, and so are the targets; the weight
            is drawn from Beta(a, a) with this a. 0.2 is usual on ImageNet, 0 is off. At most 1.
        cutmix: A rectangle of each image comes from another, targets by area; the area is drawn
            from Beta(a, a) with this a. 1 is the paper's, 0 is off. At most 1. With both, half of
            the batches get one and half the other.
        rand_augment: Strength of RandAugment, 0 to 1, two operations for each image; 0.9 is
            usual on ImageNet, 0 is off.

    Raises:
        ValueError: If a value is out of range.

    Example:

    >>> Augmentation(crop=4, flip=True).description
    'crop 4, flip'
    """

    crop: int = 0
    flip: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    rand_augment: float = 0.0

    def __post_init__(self):
        if self.crop < 0 or int(self.crop) != self.crop:
            raise ValueError(f"`crop` is a number of pixels, 0 or more. Received: crop={self.crop}")
        for name in ("mixup", "cutmix", "rand_augment"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"`{name}` goes from 0, off, to 1. Received: {name}={value}")

    @property
    def description(self) -> str:
        """What is on, for the log."""
        on = [
            f"{name.replace('_', '')}{'' if value is True else f' {value:g}'}"
            for name, value in dataclasses.asdict(self).items()
            if value
        ]
        return ", ".join(on) or "none"


class Augmenter:
    """Carries an `Augmentation` out; batch `step` of a run with `seed` is the same each time.

    Cropping and flipping are a few lines of NumPy, because Keras' `RandomCrop` cuts the whole
    batch at one place, and so that a run with no more than these needs no TensorFlow. MixUp,
    CutMix and the operations of RandAugment are Keras' layers.

    Args:
        augment: Which augmentations.
        shape: Height, width and channels of the images.

    Raises:
        ImportError: If Keras' layers are asked for and TensorFlow is not installed.
    """

    def __init__(self, augment: Augmentation, shape: tuple[int, int, int]):
        self.augment = augment
        options = {"seed": 0, "dtype": "float32"}
        self._rand_augment = (
            RandAugment(augment.rand_augment, shape) if augment.rand_augment else None
        )
        mixers = []
        if augment.mixup:
            mixers.append(keras.layers.MixUp(augment.mixup, **options))
        if augment.cutmix:
            # A single number would have Keras draw the parameter of Beta from 0 up to it.
            mixers.append(keras.layers.CutMix((augment.cutmix, augment.cutmix), **options))
        self._mixers = [PureLayer(layer, shape, targets=True) for layer in mixers]

    def images(self, images: np.ndarray, seed: int, step: int) -> np.ndarray:
        """What is done to each image alone; uint8 `(n, height, width, channels)` like `images`."""
        if self.augment.crop or self.augment.flip:
            rng = np.random.default_rng([seed, step, 1])
            images = crop_and_flip(images, self.augment.crop, self.augment.flip, rng)
        if self._rand_augment:
            images = self._rand_augment(images, np.random.default_rng([seed, step, 2]))
        return images

    def mixed(
        self, images: np.ndarray, targets: np.ndarray, seed: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Normalised images mixed with one another, and their targets; both float32."""
        if not self._mixers:
            return images, targets
        rng = np.random.default_rng([seed, step, 3])
        mixer = self._mixers[rng.integers(len(self._mixers))]
        images, targets = mixer(draw_seed(rng), images, targets)
        return images, targets


def crop_and_flip(
    images: np.ndarray, padding: int, flip: bool, rng: np.random.Generator
) -> np.ndarray:
    """Each image shifted by up to `padding` pixels over black, and half of them mirrored.

    Args:
        images: `(n, height, width, channels)`.
        padding: The largest shift, in each direction.
        flip: Whether to mirror.
        rng: Where the shifts and flips are drawn from.
    """
    n, height, width = images.shape[:3]
    tops, lefts = rng.integers(0, 2 * padding + 1, size=(2, n))
    directions = 1 - 2 * rng.integers(0, 2, size=n) if flip else np.ones(n, int)
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    result = np.empty_like(images)
    # A loop over plain slices is faster here than one gather with index arrays.
    for place in range(n):
        top, left = tops[place], lefts[place]
        window = padded[place, top : top + height, left : left + width]
        result[place] = window[:, :: directions[place]]
    return result
