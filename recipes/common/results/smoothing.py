"""Running means of noisy curves."""

import numpy as np


def smooth(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the last fiftieth of a run; values that are not finite are left out."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    return x, running_mean(y, max(1, len(y) // 50))


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The mean over the last `width` values; over fewer at the beginning.

    Example:

    >>> running_mean(np.array([4.0, 2.0, 6.0, 0.0]), 2).tolist()
    [4.0, 3.0, 4.0, 3.0]
    """
    if not len(values):
        return values
    width = min(width, len(values))
    # Sums that start again in each block of that width, from both its ends: differences of sums
    # over the whole run would lose all that comes after one value of 1e20.
    blocks = np.zeros(-(-len(values) // width) * width)
    blocks[: len(values)] = values / width
    blocks = blocks.reshape(-1, width)
    means = np.cumsum(blocks, axis=1).ravel()[: len(values)]
    to_the_end = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    starts = np.arange(1, len(values) - width + 1)
    means[width:] += np.where(starts % width, to_the_end[starts], 0.0)
    means[:width] *= width / np.arange(1, width + 1)
    return means
