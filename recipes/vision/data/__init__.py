"""Labelled images, from scikit-learn's digits to ImageNet at 32 x 32."""

import importlib

from recipes.common.command_line.errors import InputError
from recipes.vision.data.images import DataSet, ImageArray, ImageData, Split
from recipes.vision.data.search import MissingData

__all__ = [
    "DATASETS",
    "DataSet",
    "ImageArray",
    "ImageData",
    "MissingData",
    "Split",
    "find_dataset",
    "load_images",
]

# Where the `DataSet` of each is; imported when asked for, since some need packages that others do
# not.
_MODULES = {
    "digits": "digits:DIGITS",
    "fashion-mnist": "fashion_mnist:FASHION_MNIST",
    "cifar10": "cifar:CIFAR10",
    "cifar100": "cifar:CIFAR100",
    "imagenet32": "imagenet32:IMAGENET32",
    "folder": "folder:FOLDER",
}
DATASETS = tuple(_MODULES)


def find_dataset(name: str) -> DataSet:
    """The data set of that name, not yet read.

    Raises:
        InputError: If there is none.

    Example:

    >>> find_dataset("digits").epochs
    60.0
    """
    if name not in _MODULES:
        raise InputError(f"`name` must be one of {', '.join(DATASETS)}. Received: name={name}")
    module, attribute = _MODULES[name].split(":")
    return getattr(importlib.import_module(f"recipes.vision.data.{module}"), attribute)


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
    dataset = find_dataset(name)
    if image_size is not None and not dataset.resizable:
        raise InputError(
            f"`image_size` is for a folder of images; {name} has its own. "
            f"Received: image_size={image_size}"
        )
    return dataset.load(folder) if image_size is None else dataset.load(folder, image_size)
