"""ImageNet at 32 x 32 (Chrabaszcz et al., 2017): 1,281,167 + 50,000 images, 1,000 classes."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from recipes.common.command_line.errors import InputError, first_line
from recipes.common.files.npy import NPY_HEADER, npy_header
from recipes.common.files.reading import regular_file
from recipes.vision.data.images import DataSet, ImageData, Split, as_array, check_labels, image_data
from recipes.vision.data.pickles import planes_to_images, read_pickle
from recipes.vision.data.search import missing

SIDE, CLASSES = 32, 1000
IMAGES = 1_300_000  # 1,281,167 in all ten batches
_BATCH = 2**17 * 3072  # bytes of a batch of 128,117 images
_INFLATION = 64  # how much smaller deflate may have made pixels; zeros would go to 1,000
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
    count = 0
    for path in paths:
        content = _read(path)
        images = planes_to_images(content["data"], SIDE, str(path))
        found = content["labels"]
        if isinstance(found, list):
            check_labels(found, CLASSES + 1, str(path))
        found = as_array(found, str(path))
        count += len(images)
        if count > IMAGES:
            raise InputError(
                f"{path} is damaged: at most {IMAGES:,} images are expected. Received: {count:,}"
            )
        del content  # before the next is read
        if found.shape != (len(images),) or not len(images):
            raise InputError(
                f"{path} is damaged: one label for each image is expected. "
                f"Received: {len(images):,} images, labels of shape {found.shape}"
            )
        # Published from 1 to 1,000.
        if found.dtype.kind in "iu" and (found.min() < 1 or found.max() > CLASSES):
            raise InputError(
                f"{path} is damaged: labels from 1 to {CLASSES} are expected. "
                f"Received: {found.min()} to {found.max()}"
            )
        labels.append(check_labels(found.astype(np.int64, copy=False) - 1, CLASSES, str(path)))
        parts.append(images)
    return Split(Chunks(parts), np.concatenate(labels))


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        content = _read_npz(path)
    else:
        content = read_pickle(path)
    for key in ("data", "labels"):
        if key not in content:
            raise InputError(
                f"{path} is damaged: `data` and `labels` are expected. "
                f"Received: keys {sorted(content)}"
            )
    return content


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """The two arrays, whose sizes are looked at before they are decompressed."""
    try:
        with zipfile.ZipFile(regular_file(path)) as archive:
            names = set(archive.namelist())
            return {
                key: _read_npy(archive, f"{key}.npy", path)
                for key in ("data", "labels")
                if f"{key}.npy" in names
            }
    except InputError:
        raise
    # NumPy's header parser and zipfile fail in many ways: TokenError, NotImplementedError and more.
    except Exception as error:
        raise InputError(
            f"{path} is damaged: it cannot be read ({first_line(error)[:200]}). Received: {path}"
        ) from None


def _read_npy(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    size = archive.getinfo(name).file_size
    if size > _BATCH or size > _INFLATION * path.stat().st_size + 2**16:
        raise InputError(
            f"{path} is damaged: {name} is larger than the images of a batch. "
            f"Received: {size:,} bytes"
        )
    with archive.open(name) as file:
        content = file.read(size + 1)  # to its end, where the checksum is compared
    header = npy_header(content[:NPY_HEADER], len(content), f"{name} in {path}")
    if header.dtype.kind not in "buif":
        raise InputError(
            f"{path} is damaged: {name} is not an array of numbers. Received: {header.dtype}"
        )
    array = np.frombuffer(content, header.dtype, offset=header.offset)
    return array.reshape(header.shape, order=header.order)


IMAGENET32 = DataSet(load, epochs=90.0, quick=(0.1, 0.1))
