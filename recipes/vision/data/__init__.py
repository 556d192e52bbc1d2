"""Labelled images, from scikit-learn's digits to ImageNet at 32 x 32."""

import importlib

from recipes.common.command_line.errors import InputError
from recipes.vision.data.images import ImageArray, ImageData, Split
from recipes.vision.data.search import MissingData

__all__ = ["DATASETS", "ImageArray", "ImageData", "MissingData", "Split", "load_images"]

# What reads each, imported when asked for, since some need packages that others do not.
_READERS = {
    "digits": "digits:load",
    "fashion-mnist": "fashion_mnist:load",
    "cifar10": "cifar:load_cifar10",
    "cifar100": "cifar:load_cifar100",
    "imagenet32": "imagenet32:load",
    "folder": "folder:load",
}
DATASETS = tuple(_READERS)


def load_images(name: str, folder: str | None = None, image_size: int | None = None) -> ImageData:
    """A data set by name.

    Args:
        name: One of `DATASETS`: `"digits"` (scikit-learn's, always there), `"fashion-mnist"`,
            `"cifar10"`, `"cifar100"`, `"imagenet32"`, or `"folder"`, any folder of images with a
            subfolder for each class.
        folder: Where its files are (`--data-dir`); `None` searches the usual places, and lets
            Keras download what it can.
        image_size: Height and width, for `"folder"` alone, where `None` means 32; the others
            have sizes of their own.

    Raises:
        MissingData: If the files are not there; the message says where to have them.
        InputError: If a file is damaged; the message names it and what is wrong.

    Example:

    >>> data = load_images("digits")
    >>> data.training.images.shape, data.training.images.dtype.name, len(data.validation)
    ((1437, 8, 8, 1), 'uint8', 360)
    """
    if name not in _READERS:
        raise InputError(f"`name` must be one of {', '.join(DATASETS)}. Received: name={name}")
    if image_size is not None and name != "folder":
        raise InputError(
            f"`image_size` is for a folder of images; {name} has its own. "
            f"Received: image_size={image_size}"
        )
    module, function = _READERS[name].split(":")
    read = getattr(importlib.import_module(f"recipes.vision.data.{module}"), function)
    return read(folder) if image_size is None else read(folder, image_size)
