"""Labelled images, and what the readers check and measure in them."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from recipes.common.command_line.errors import InputError

# Enough for the means of any data set to three digits, and read in a second or two.
STATISTICS_LIMIT = 50_000


class ImageArray(Protocol):
    """What the batches need of images: an array, or something that reads or decodes on demand."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """The images of these indices, uint8 `(len(indices), height, width, channels)`."""
        ...


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and their classes.

    Args:
        images: uint8 `(n, height, width, channels)`, 0 to 255; an array, or an `ImageArray` that
            is read or decoded when indexed.
        labels: int64 `(n,)`, from 0.
    """

    images: ImageArray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set.

    Args:
        training: Images to train on.
        validation: Images held out: the published test split where there is one.
        classes: A name for each label.
        source: Which data, from where, how many images: a sentence for the log.
        mean: Of each channel, of pixels in [0, 1], over the training images (up to 50,000 of
            them, evenly spaced), float32 `(channels,)`. Computed, never a published figure.
        std: The standard deviations that go with it.
    """

    training: Split
    validation: Split
    classes: tuple[str, ...]
    source: str
    mean: np.ndarray
    std: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return tuple(self.training.images.shape[1:])


@dataclasses.dataclass(frozen=True)
class DataSet:
    """How a data set is read, and what it means for options that are left open.

    A new data set is a module with one of these and a line in `recipes.vision.data`.

    Args:
        load: From a folder, or `None` for the usual places, to the images; with `resizable` also
            from a height and width.
        epochs: Passes over the data that such models are usually trained for.
        quick: Passes with `--quick`, of convolutional networks and of Transformers.
        batch_size: Images in a micro-batch.
        crop: Pixels by which training images are shifted.
        flip: Whether half of the training images are mirrored.
        resizable: Whether the images have no size of their own.
        short_runs: For models by name, options of a run of a minute or two on two CPU cores, of
            which `recipes.compare` makes many; `"peak_lr"` by optimizer.
    """

    load: Callable[..., ImageData]
    epochs: float
    quick: tuple[float, float] = (1.0, 1.0)
    batch_size: int = 128
    crop: int = 4
    flip: bool = True
    resizable: bool = False
    short_runs: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def image_data(
    training: Split, validation: Split, classes: tuple[str, ...], source: str
) -> ImageData:
    """An `ImageData` with its numbers filled in: those of the log and those of normalisation."""
    mean, std = channel_statistics(training.images)
    height, width, channels = training.images.shape[1:]
    kind = "grey" if channels == 1 else "colour"
    source = (
        f"{source}: {len(training):,} images to train on, {len(validation):,} held out, "
        f"{height} x {width} {kind}, {len(classes)} classes"
    )
    return ImageData(training, validation, classes, source, mean, std)


def channel_statistics(
    images: ImageArray, limit: int = STATISTICS_LIMIT
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Sums of integers are exact, so the figures are the same to the last digit on every machine.

    Args:
        images: uint8 `(n, height, width, channels)`.
        limit: With more images than this, so many of them are used, evenly spaced.

    Returns:
        Two float32 arrays `(channels,)`. A channel that never changes has deviation 1.

    Example:

    >>> mean, std = channel_statistics(np.array([0, 255], "uint8").reshape(2, 1, 1, 1))
    >>> mean.tolist(), std.tolist()
    ([0.5], [0.5])
    """
    count = min(len(images), limit)
    chosen = np.arange(count) * len(images) // count
    levels = np.arange(256)
    counts = np.zeros((images.shape[-1], 256), np.int64)
    # Large images are perhaps decoded only here: few at a time.
    step = max(1, min(1024, 2**22 // math.prod(images.shape[1:])))
    for start in range(0, count, step):
        batch = images[chosen[start : start + step]]
        for channel, row in enumerate(counts):
            row += np.bincount(batch[..., channel].ravel(), minlength=256)
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    variance = counts @ levels**2 / total - mean**2
    std = np.sqrt(np.maximum(variance, 0.0))
    std[std == 0] = 255.0
    return (mean / 255).astype(np.float32), (std / 255).astype(np.float32)


def as_array(values: Any, where: str) -> np.ndarray:
    """What a file holds as an array; `where` names it if it is none."""
    try:
        return np.asarray(values)
    # Rows of different lengths, or a number beyond int64.
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where} is damaged: {error}. Received: {where}") from None


def check_labels(labels: Any, classes: int, where: str) -> np.ndarray:
    """`labels` as int64, if all of them are classes.

    Raises:
        ValueError: That names `where` they came from.
    """
    if isinstance(labels, list):
        # NumPy would take True, "12" and 1.9 beside integers for numbers, or make them text.
        other = next((y for y in labels if type(y) is not int and not isinstance(y, np.integer)), 0)
        if other != 0 or isinstance(other, bool | float | complex):
            raise InputError(
                f"{where} is damaged: labels are one row of integers. Received: {other!r:.80}"
            )
    labels = as_array(labels, where)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(
            f"{where} is damaged: labels are one row of integers. "
            f"Received: shape={labels.shape}, dtype={labels.dtype}"
        )
    labels = labels.astype(np.int64)
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise InputError(
            f"{where} is damaged: labels are expected from 0 to {classes - 1}. "
            f"Received: label {labels[outside[0]]} of image {outside[0]}"
        )
    return labels
