"""What is done to training images, by name, and how strongly."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Which augmentations, each off by default.

    Args:
        crop: Pixels of black border added on each side before a window of the image's own size
            is cut out at random, for each image; 4 is the habit at 32 x 32.
        flip: Mirrors half of the images left to right. Not for digits or text.

    Raises:
        ValueError: If a value is out of range.

    Example:

    >>> Augmentation(crop=4, flip=True).description
    'crop 4, flip'
    """

    crop: int = 0
    flip: bool = False

    def __post_init__(self):
        if self.crop < 0 or int(self.crop) != self.crop:
            raise ValueError(f"`crop` is a number of pixels, 0 or more. Received: crop={self.crop}")

    @property
    def description(self) -> str:
        """What is on, for the log."""
        on = [
            f"crop {self.crop}" if self.crop else "",
            "flip" if self.flip else "",
        ]
        return ", ".join(filter(None, on)) or "none"


class Augmenter:
    """Carries an `Augmentation` out, on batch `step` of a run with `seed`, the same each time.

    Cropping and flipping are a few lines of NumPy: Keras' `RandomCrop` cuts the whole batch at
    one place, not each image at its own, and so a run with no more than these needs no TensorFlow.
    """

    def __init__(self, augment: Augmentation, shape: tuple[int, int, int]):
        self.augment = augment

    def images(self, images: np.ndarray, seed: int, step: int) -> np.ndarray:
        """Cropped and flipped images, uint8 like `images`, `(n, height, width, channels)`."""
        if self.augment.crop or self.augment.flip:
            rng = np.random.default_rng([seed, step, 1])
            images = crop_and_flip(images, self.augment.crop, self.augment.flip, rng)
        return images


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


def default_augmentation(name: str) -> Augmentation:
    """What is customary for a data set: shifts for all, flips where left and right may change."""
    return _DEFAULTS.get(name, Augmentation())


_DEFAULTS = {
    "digits": Augmentation(crop=1),
    "fashion-mnist": Augmentation(crop=2, flip=True),
    "cifar10": Augmentation(crop=4, flip=True),
    "cifar100": Augmentation(crop=4, flip=True),
    "imagenet32": Augmentation(crop=4, flip=True),
    "folder": Augmentation(crop=4, flip=True),
}
