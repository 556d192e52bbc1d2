"""Images and text for the study, from what is on the machine."""

from pathlib import Path

import numpy as np

from recipes.vision.data.idx import read_idx

# Where the Debian package dataset-fashion-mnist puts its files.
_FASHION = Path("/usr/share/datasets/fashion-mnist")


def images(limit: int) -> tuple[np.ndarray, np.ndarray, str]:
    """`(x, y, source)`: Fashion-MNIST where its files are, else scikit-learn's digits.

    Images are `(n, side, side, 1)` with mean 0 and variance 1, labels 0 to 9.
    """
    for suffix in ("", ".gz"):
        path = _FASHION / f"train-images-idx3-ubyte{suffix}"
        if path.exists():
            x = read_idx(path, 3)[:limit]
            y = read_idx(_FASHION / f"train-labels-idx1-ubyte{suffix}", 1)[:limit]
            source = f"Fashion-MNIST, {len(x):,} images of 28 x 28"
            break
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        x, y = digits.images[:limit], digits.target[:limit]
        source = f"scikit-learn's digits, {len(x):,} images of 8 x 8"
    x = x.astype("float32")[..., None]
    return (x - x.mean()) / x.std(), y.astype("int32"), source
