"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 x 28."""

from pathlib import Path

import keras
import numpy as np

from recipes.common.command_line.errors import InputError
from recipes.vision.data.idx import read_idx
from recipes.vision.data.images import DataSet, ImageData, Split, check_labels, image_data
from recipes.vision.data.search import find_file, find_folder, keras_datasets, missing

CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def load(folder: str | None = None) -> ImageData:
    """Fashion-MNIST from `folder`, Debian's package, Keras' cache, or a download by Keras."""
    searched = [Path(folder).expanduser()] if folder else _usual_places()
    found = find_folder(searched, FILES)
    if found is None and not folder:
        found = _download(searched)
    if found is None:
        raise _missing(searched, folder)
    return image_data(
        _split(found, *FILES[:2]),
        _split(found, *FILES[2:]),
        CLASSES,
        f"Fashion-MNIST, read from {found}",
    )


def installed() -> Path | None:
    """The folder with the files, if they are on this machine."""
    return find_folder(_usual_places(), FILES)


def _usual_places() -> list[Path]:
    return [DEBIAN, keras_datasets() / "fashion-mnist"]


def _download(searched: list[Path]) -> Path | None:
    try:
        # Called for the files that it leaves in the cache; they are read with our own checks.
        keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise _missing(searched, None, f"{error}") from error
    return find_folder(searched[1:], FILES)


def _missing(searched: list[Path], folder: str | None, reason: str = "") -> FileNotFoundError:
    return missing(
        "Fashion-MNIST",
        searched,
        ", ".join(f"{name}[.gz]" for name in FILES),
        (
            "Debian and Ubuntu: `apt install dataset-fashion-mnist`",
            "with a network: run once without --data-dir; Keras downloads it to its cache",
            "any copy of the four files: --data-dir FOLDER",
        ),
        folder,
        reason,
    )


def _split(folder: Path, images_name: str, labels_name: str) -> Split:
    images_path, labels_path = find_file(folder, images_name), find_file(folder, labels_name)
    images = read_idx(images_path, 3)
    labels = check_labels(read_idx(labels_path, 1), len(CLASSES), str(labels_path))
    if images.shape != (len(labels), 28, 28) or not len(labels):
        raise InputError(
            f"{images_path} does not fit {labels_path}: {len(labels):,} images of 28 x 28 are "
            f"expected. Received: shape={images.shape}"
        )
    return Split(np.ascontiguousarray(images[..., None]), labels)


# Larger patches make the ViT's updates four times cheaper, and it needs many. Peak rates: the best
# for linear warm-up, the rival, of 0.2, 0.4, 0.8 for 256 images with SGD and of 2e-3, 4e-3 with
# AdamW (seed 0, accuracy after 600 and 1000 updates).
FASHION_MNIST = DataSet(
    load,
    epochs=30.0,
    crop=2,
    short_runs={
        "resnet8": {"steps": 600, "eval_every": 150, "peak_lr": {"sgd": 0.4}},
        "vit-micro": {"steps": 1200, "eval_every": 300, "patch": 7, "peak_lr": {"adamw": 2e-3}},
    },
)
