"""What several benchmarks measure with."""

import time
from collections.abc import Sequence

import keras
import numpy as np


class Clock(keras.callbacks.Callback):
    """Marks the end of every few micro-batches, waiting for the device: reading the loss does.

    Args:
        every: Micro-batches between two marks.

    Attributes:
        marks: For each `(micro-batches so far, seconds of the clock, mean loss so far)`.
    """

    def __init__(self, every: int = 1):
        super().__init__()
        self.every = every
        self.marks: list[tuple[int, float, float]] = []

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.every == 0:
            # First the loss, which waits.
            loss = float(logs["loss"])
            self.marks.append((batch + 1, time.perf_counter(), loss))

    def durations(self) -> np.ndarray:
        """Seconds between each mark and the next."""
        return np.diff([seconds for _, seconds, _ in self.marks])


def median_and_range(values: Sequence[float]) -> dict:
    """As it is written to a result.

    Example:

    >>> median_and_range([3.0, 1.0, 2.0])
    {'median': 2.0, 'range': [1.0, 3.0]}
    """
    return {"median": float(np.median(values)), "range": [min(values), max(values)]}


def accelerator() -> str | None:
    """What the GPU or TPU of this machine calls itself; `None` if there is none."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        if not devices:
            return None
        return tf.config.experimental.get_device_details(devices[0]).get("device_name", "GPU")
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
