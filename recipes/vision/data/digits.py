"""Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels: always there, nothing to download."""

import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from recipes.common.command_line.errors import InputError
from recipes.vision.data.images import DataSet, ImageData, Split, image_data

HELD_OUT = 360  # a fifth


def load(folder: str | None = None) -> ImageData:
    """The digits, 1,437 to train on and 360 held out, in equal shares of each class.

    The split is fixed: it does not follow the seed of the run, so runs are comparable.
    """
    if folder is not None:
        raise InputError(
            "The digits come with scikit-learn and are read from no folder. "
            f"Received: data_dir={folder}"
        )
    bunch = load_digits()
    # The sixteen grey levels 0 ... 16, spread over a byte.
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    # random_state draws from NumPy's frozen generator: the same split in every version.
    training, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, random_state=0, stratify=labels
    )
    return image_data(
        Split(images[training], labels[training]),
        Split(images[held_out], labels[held_out]),
        tuple("0123456789"),
        f"digits of scikit-learn {sklearn.__version__}, a fixed stratified split",
    )


DIGITS = DataSet(
    load,
    epochs=60.0,
    quick=(6.0, 12.0),  # a few minutes on two CPU cores
    batch_size=64,
    crop=1,
    flip=False,
)
