"""Images and text for the study, from what is on the machine."""

import gzip
from pathlib import Path

import numpy as np

# Where the Debian package dataset-fashion-mnist puts its files.
_FASHION = Path("/usr/share/datasets/fashion-mnist")


def _idx(path: Path) -> np.ndarray:
    data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    dimensions = data[3]
    shape = np.frombuffer(data, ">i4", dimensions, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def images(limit: int) -> tuple[np.ndarray, np.ndarray, str]:
    """`(x, y, source)`: Fashion-MNIST where its files are, else scikit-learn's digits.

    Images are `(n, side, side, 1)` with mean 0 and variance 1, labels 0 to 9.
    """
    for suffix in ("", ".gz"):
        path = _FASHION / f"train-images-idx3-ubyte{suffix}"
        if path.exists():
            x = _idx(path)[:limit]
            y = _idx(_FASHION / f"train-labels-idx1-ubyte{suffix}")[:limit]
            source = f"Fashion-MNIST, {len(x):,} images of 28 x 28"
            break
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        x, y = digits.images[:limit], digits.target[:limit]
        source = f"scikit-learn's digits, {len(x):,} images of 8 x 8"
    x = x.astype("float32")[..., None]
    return (x - x.mean()) / x.std(), y.astype("int32"), source
