"""Labelled images, from scikit-learn's digits to ImageNet at 32 x 32."""

import importlib
from collections.abc import Callable

from recipes.vision.data.images import ImageArray, ImageData, Split
from recipes.vision.data.search import MissingData

__all__ = ["DATASETS", "ImageArray", "ImageData", "MissingData", "Split", "load_images"]

# The module that reads each; imported when asked for, since each needs packages of its own.
_READERS = {
    "digits": "digits",
    "fashion-mnist": "fashion_mnist",
}
DATASETS = tuple(_READERS)


def load_images(name: str, folder: str | None = None) -> ImageData:
    """A data set by name.

    Args:
        name: One of `DATASETS`.
        folder: Where its files are (`--data-dir`); `None` searches the usual places.

    Raises:
        MissingData: If the files are not there; the message says where to have them.
        ValueError: If a file is damaged; the message names it and what is wrong.

    Example:

    >>> data = load_images("digits")
    >>> data.training.images.shape, data.training.images.dtype.name, len(data.validation)
    ((1437, 8, 8, 1), 'uint8', 360)
    """
    if name not in _READERS:
        raise ValueError(f"`name` must be one of {', '.join(DATASETS)}. Received: name={name}")
    return _reader(name)(folder)


def _reader(name: str) -> Callable[..., ImageData]:
    return importlib.import_module(f"recipes.vision.data.{_READERS[name]}").load
