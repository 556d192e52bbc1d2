"""Batches of images: a pure function of (seed, batch number), made ahead by background threads."""

import collections
import dataclasses
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from recipes.vision.augment import Augmentation, Augmenter
from recipes.vision.data.images import ImageData, Split


@dataclasses.dataclass
class Waiting:
    """How long the consumer of the batches waited for them.

    Args:
        waited: Seconds inside `next()`.
        working: Seconds between one `next()` and the following: the consumer's own work.
        batches: How many batches these are.
    """

    waited: float = 0.0
    working: float = 0.0
    batches: int = 0

    @property
    def share(self) -> float:
        """The share of time spent waiting, 0 to 1; NaN before the second batch."""
        total = self.waited + self.working
        return self.waited / total if total else float("nan")


class ImageBatches:
    """Deals out images in shuffled order, augmented and normalised, each once an epoch.

    Batch `k` depends on the data, the arguments and `k` alone, so a run that is resumed at step
    `k`, on any backend, sees what it would have seen. Epochs follow one another without a gap: an
    image that does not fill a batch at the end of an epoch comes first in the batch that begins
    the next, and none is dropped.

    Args:
        split: uint8 images `(n, height, width, channels)` and int64 labels `(n,)`.
        classes: How many classes there are.
        batch_size: Images in a batch.
        mean: Of each channel, of pixels in [0, 1]; `(channels,)`.
        std: The standard deviations that go with it.
        seed: Of the order and of the augmentation.
        augment: What is done to the images; `None` for nothing.
        label_smoothing: Share of the target that is spread evenly over all classes, 0 to 1.
        workers: Background threads that make batches. 0 makes each when it is asked for. Two,
            because decoding and TensorFlow's share of the work run beside each other, and more
            take the cores from the training.

    Raises:
        ValueError: If there are fewer images than a batch takes, or an argument is out of range.

    Example:

    >>> split = Split(np.zeros((10, 8, 8, 1), "uint8"), np.arange(10))
    >>> batches = ImageBatches(split, classes=10, batch_size=4, mean=[0.0], std=[1.0])
    >>> x, y = next(batches.starting_at(0))
    >>> x.shape, y.shape, y.sum(axis=1).tolist()
    ((4, 8, 8, 1), (4, 10), [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        split: Split,
        classes: int,
        batch_size: int,
        mean: np.ndarray,
        std: np.ndarray,
        seed: int = 0,
        augment: Augmentation | None = None,
        label_smoothing: float = 0.0,
        workers: int = 2,
    ):
        if batch_size < 1 or len(split) < batch_size:
            raise ValueError(
                f"A batch takes from 1 to all {len(split)} images. "
                f"Received: batch_size={batch_size}"
            )
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(
                f"`label_smoothing` is a share. Received: label_smoothing={label_smoothing}"
            )
        if workers < 0:
            raise ValueError(f"`workers` must not be negative. Received: workers={workers}")
        self.split = split
        self.classes = classes
        self.batch_size = batch_size
        self.mean = mean
        self.std = std
        self.seed = seed
        self.label_smoothing = label_smoothing
        self.workers = workers
        self.waiting = Waiting()
        self._augmenter = Augmenter(augment or Augmentation(), split.images.shape[1:])
        self._lock = threading.Lock()
        self._orders: dict[int, np.ndarray] = {}

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch `step`: images float32 `(batch_size, h, w, c)`, targets float32 `(.., classes)`."""
        chosen = self.indices(step)
        images = self._augmenter.images(self.split.images[chosen], self.seed, step)
        targets = one_hot(self.split.labels[chosen], self.classes, self.label_smoothing)
        images = normalise(images, self.mean, self.std)
        return self._augmenter.mixed(images, targets, self.seed, step)

    def indices(self, step: int) -> np.ndarray:
        """Which images batch `step` is made of, int64 `(batch_size,)`."""
        if step < 0:
            raise ValueError(f"Batches are counted from 0. Received: step={step}")
        n = len(self.split)
        place, parts, wanted = step * self.batch_size, [], self.batch_size
        while wanted:
            epoch, begin = divmod(place, n)
            part = self._order(epoch)[begin : begin + wanted]
            parts.append(part)
            place, wanted = place + len(part), wanted - len(part)
        return np.concatenate(parts)

    def _order(self, epoch: int) -> np.ndarray:
        with self._lock:
            if epoch not in self._orders:
                # One generator for each epoch: no state to restore when a run is resumed.
                rng = np.random.default_rng([self.seed, epoch])
                # A batch may reach over two epochs; older orders are not needed again.
                self._orders = {e: o for e, o in self._orders.items() if abs(e - epoch) <= 1}
                self._orders[epoch] = rng.permutation(len(self.split))
            return self._orders[epoch]

    def starting_at(self, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches `step`, `step + 1`, ... without end, `2 workers` of them made ahead.

        A generator, which Keras' `fit` takes. An error in a worker is raised by `next()`. The
        threads end when the generator is closed or collected.

        The time spent in `next()` is added to `waiting`. On TensorFlow Keras reads ahead through
        `tf.data`, whose thread asks for the next batch at once: where the data are slower than
        the training, that share is an upper bound there.
        """
        if self.workers == 0:
            yield from self._timed(self[k] for k in _count(step))
            return
        executor = ThreadPoolExecutor(self.workers, thread_name_prefix="image-batches")
        try:
            yield from self._timed(self._ahead(executor, step))
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _ahead(self, executor: ThreadPoolExecutor, step: int) -> Iterator:
        numbers = _count(step)
        pending = collections.deque(
            executor.submit(self.__getitem__, next(numbers)) for _ in range(2 * self.workers)
        )
        while True:
            batch = pending.popleft().result()
            pending.append(executor.submit(self.__getitem__, next(numbers)))
            yield batch

    def _timed(self, batches: Iterator) -> Iterator:
        # The first batch has no one to overlap with: its time is that of starting up.
        yield next(batches)
        returned = time.perf_counter()
        while True:
            asked = time.perf_counter()
            self.waiting.working += asked - returned
            batch = next(batches)
            returned = time.perf_counter()
            self.waiting.waited += returned - asked
            self.waiting.batches += 1
            yield batch


def _count(step: int) -> Iterator[int]:
    while True:
        yield step
        step += 1


def one_hot(labels: np.ndarray, classes: int, smoothing: float = 0.0) -> np.ndarray:
    """Targets, float32 `(n, classes)`: $1 - s + s / K$ for the label, $s / K$ for the others."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += np.float32(1.0 - smoothing)
    return targets


def normalise(images: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Images with each channel's mean taken off, in units of its standard deviation; float32.

    Args:
        images: 0 to 255, `(n, height, width, channels)`.
        mean: Of each channel, of pixels in [0, 1].
        std: The standard deviations that go with it.
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    scale = (1 / (255 * std)).astype(np.float32)
    normalised = images.astype(np.float32)
    normalised *= scale
    normalised -= (mean / std).astype(np.float32)
    return normalised


def validation_arrays(
    data: ImageData, batch_size: int, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out images, normalised, and their one-hot targets.

    Their number is a multiple of `batch_size`, so that evaluation compiles for one shape.

    Args:
        data: The data set.
        batch_size: Images in a batch.
        limit: The most images to use, evenly spaced; `None` for all but the last partial batch.

    Returns:
        float32 `(n, height, width, channels)` and float32 `(n, classes)`.
    """
    available = len(data.validation)
    count = min(available, limit or available) // batch_size * batch_size
    if not count:
        raise ValueError(
            f"Too few held-out images for one batch: {available}, limit {limit}. "
            f"Received: batch_size={batch_size}"
        )
    chosen = np.arange(count) * available // count
    images = normalise(data.validation.images[chosen], data.mean, data.std)
    return images, one_hot(data.validation.labels[chosen], len(data.classes))
