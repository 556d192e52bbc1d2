"""The study's images, read and normalised as by the vision recipe."""

import numpy as np

from recipes.vision.batches import normalise
from recipes.vision.data import load_images
from recipes.vision.data.fashion_mnist import installed


def load_data(limit: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Images, labels and which data: Fashion-MNIST where its files are, else the digits.

    Args:
        limit: Images at most, the first of the training split.

    Returns:
        float32 `(n, height, width, 1)`, int32 `(n,)` from 0 to 9, and a sentence for the log.
    """
    folder = installed()
    data = load_images("fashion-mnist", str(folder)) if folder else load_images("digits")
    x = normalise(data.training.images[:limit], data.mean, data.std)
    return x, data.training.labels[:limit].astype("int32"), f"{data.source}; {len(x):,} used"
