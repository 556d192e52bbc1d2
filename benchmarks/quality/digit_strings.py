"""Pictures of several digits in a row, made of scikit-learn's images of single digits."""

import functools

import numpy as np

from benchmarks.quality import data

SIDE = 8
"""Each digit is so many pixels high and wide, with grey levels from 0 to 16."""


@functools.cache
def _by_digit(part: str) -> list[np.ndarray]:
    """The images of each digit, those of training or those held out."""
    images = data.digits()
    split = images.training if part == "training" else images.validation
    pictures = split.images.reshape(-1, SIDE, SIDE)
    return [pictures[split.labels == digit] for digit in range(10)]


def row_of_images(part: str, digits: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A picture of each string, every digit a random image of its class.

    Args:
        part: `"training"` or `"held out"`: no image is in both.
        digits: Integers of shape `(..., places)`; a negative one leaves its place empty.
        generator: Chooses the images.

    Returns:
        Array of shape `(..., 8, 8 * places, 1)`, of the images' dtype.
    """
    by_digit = _by_digit(part)
    pictures = np.zeros((*digits.shape, SIDE, SIDE), by_digit[0].dtype)
    for digit, images in enumerate(by_digit):
        places = digits == digit
        pictures[places] = images[generator.integers(0, len(images), size=places.sum())]
    rows = np.moveaxis(pictures, -3, -2)
    return rows.reshape(*digits.shape[:-1], SIDE, SIDE * digits.shape[-1], 1)
