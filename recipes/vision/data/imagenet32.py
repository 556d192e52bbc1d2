"""ImageNet at 32 x 32 (Chrabaszcz et al., 2017): 1,281,167 + 50,000 images, 1,000 classes."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from recipes.vision.data.images import ImageData, Split, as_array, check_labels, image_data
from recipes.vision.data.pickles import planes_to_images, read_pickle
from recipes.vision.data.search import missing

SIDE, CLASSES = 32, 1000
TRAINING = tuple(f"train_data_batch_{i}" for i in range(1, 11))
VALIDATION = ("val_data",)


class Chunks:
    """Arrays one after the other that are indexed like one: no second copy is made to join them.

    Args:
        parts: uint8 arrays `(n, height, width, channels)`.
    """

    def __init__(self, parts: list[np.ndarray]):
        self.parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices)
        result = np.empty((len(indices), *self.shape[1:]), np.uint8)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        for owner in np.unique(owners):
            rows = owners == owner
            result[rows] = self.parts[owner][indices[rows] - self._starts[owner]]
        return result


def load(folder: str | None = None) -> ImageData:
    """The published batches, pickles or .npz, from `folder`.

    Memory: the images, 3.9 GB, and one batch more (0.4 GB) while reading.

    Args:
        folder: Holds `train_data_batch_1` ... `train_data_batch_10` and `val_data`, pickles or
            each with `.npz`.
    """
    if folder is None:
        raise _missing([], None)
    root = Path(folder).expanduser()
    paths = {name: _path(root, name) for name in TRAINING + VALIDATION}
    if not all(paths.values()):
        raise _missing([root], folder, [name for name, path in paths.items() if not path])
    return image_data(
        _split([paths[name] for name in TRAINING]),
        _split([paths[name] for name in VALIDATION]),
        tuple(str(i) for i in range(1, CLASSES + 1)),
        f"ImageNet 32 x 32, read from {root}",
    )


def _path(root: Path, name: str) -> Path | None:
    return next((p for p in (root / name, root / f"{name}.npz") if p.is_file()), None)


def _missing(searched: list[Path], folder: str | None, lacking: list[str] = ()):
    return missing(
        "ImageNet 32 x 32",
        searched or ["nowhere: no folder was given"],
        f"{TRAINING[0]} ... {TRAINING[-1]} and {VALIDATION[0]}, pickles or each with .npz"
        + (f" (not there: {', '.join(lacking)})" if searched else ""),
        (
            "image-net.org, after registering: Downsampled ImageNet, Imagenet32_train and "
            "Imagenet32_val, either format, unpacked",
            "then name the folder: --data-dir FOLDER",
        ),
        folder,
    )


def _split(paths: list[Path]) -> Split:
    parts, labels = [], []
    for path in paths:
        content = _read(path)
        images = planes_to_images(content["data"], SIDE, str(path))
        found = as_array(content["labels"], str(path))
        del content  # before the next is read
        if found.shape != (len(images),) or not len(images):
            raise ValueError(
                f"{path} is damaged: one label for each image is expected. "
                f"Received: {len(images):,} images, labels of shape {found.shape}"
            )
        # Published from 1 to 1,000.
        if found.dtype.kind in "iu" and (found.min() < 1 or found.max() > CLASSES):
            raise ValueError(
                f"{path} is damaged: labels from 1 to {CLASSES} are expected. "
                f"Received: {found.min()} to {found.max()}"
            )
        labels.append(check_labels(found.astype(np.int64, copy=False) - 1, CLASSES, str(path)))
        parts.append(images)
    return Split(Chunks(parts), np.concatenate(labels))


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                content = {key: archive[key] for key in ("data", "labels") if key in archive}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is damaged: it cannot be read ({error}).") from error
    else:
        content = read_pickle(path)
    for key in ("data", "labels"):
        if key not in content:
            raise ValueError(
                f"{path} is damaged: `data` and `labels` are expected. "
                f"Received: keys {sorted(content)}"
            )
    return content
