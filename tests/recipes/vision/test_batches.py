"""Batches: order, purity, threads, and the same bytes on every backend."""

import gc
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from recipes.vision.augment import Augmentation
from recipes.vision.batches import ImageBatches, normalise, one_hot, validation_arrays
from recipes.vision.data import ImageData, Split

MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.25])


def numbered(n=10):
    """Images that say which they are, in their first pixel."""
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    return Split(images, np.arange(n) % 5)


def batches_of(split, batch_size=4, **options):
    return ImageBatches(split, 5, batch_size, MEAN, STD, **options)


def take(batches, count, step=0):
    iterator = batches.starting_at(step)
    result = [next(iterator) for _ in range(count)]
    iterator.close()
    return result


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("image-batches")]


def no_threads():
    for _ in range(100):
        if not threads():
            return True
        time.sleep(0.02)
    return False


def test_each_image_once_an_epoch_and_none_is_dropped():
    batches = batches_of(numbered())
    order = np.concatenate([batches.indices(k) for k in range(10)])  # 40 images: 4 epochs
    epochs = order.reshape(4, 10)
    assert np.all(np.sort(epochs, axis=1) == np.arange(10))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = np.concatenate([batches_of(numbered(), seed=1).indices(k) for k in range(10)])
    assert np.any(other != order)
    # Labels and pixels are those of the image.
    x, y = batches[2]
    np.testing.assert_array_equal(
        np.rint((x[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255), batches.indices(2)
    )
    np.testing.assert_array_equal(y.argmax(axis=1), batches.indices(2) % 5)


def test_normalised_images_and_smoothed_targets():
    images = numbered().images
    np.testing.assert_allclose(
        normalise(images, MEAN, STD), (images / 255 - MEAN) / STD, atol=2e-6, rtol=0
    )
    y = one_hot(np.array([2, 0]), 4, smoothing=0.2)
    np.testing.assert_allclose(y, [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-6)
    assert y.dtype == np.float32
    smoothed = batches_of(numbered(), label_smoothing=0.1)[0][1]
    np.testing.assert_allclose(smoothed.max(axis=1), 0.92, rtol=1e-6)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_resumed_run_sees_the_same_batches(workers):
    augment = Augmentation(crop=1, flip=True)
    whole = take(batches_of(numbered(), augment=augment, workers=workers), 8)
    resumed = take(batches_of(numbered(), augment=augment, workers=2 - workers), 4, step=4)
    for (x, y), (x2, y2) in zip(whole[4:], resumed, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    assert whole[0][0].dtype == np.float32


def test_validation_arrays_are_spread_evenly():
    split = numbered(11)
    data = ImageData(split, split, tuple("abcde"), "", MEAN, STD)
    x, y = validation_arrays(data, batch_size=4)
    assert x.shape == (8, 4, 4, 3) and y.shape == (8, 5)
    chosen = np.arange(8) * 11 // 8
    np.testing.assert_array_equal(x, normalise(split.images[chosen], MEAN, STD))
    np.testing.assert_array_equal(y, np.eye(5)[chosen % 5])
    assert len(validation_arrays(data, 2, limit=5)[0]) == 4
    with pytest.raises(ValueError, match="batch_size=12"):
        validation_arrays(data, 12)


def test_arguments_are_checked():
    for options, message in [
        ({"batch_size": 11}, "batch_size=11"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"workers": -1}, "workers=-1"),
    ]:
        with pytest.raises(ValueError, match=f"Received: {message}"):
            batches_of(numbered(), **options)


class Slow:
    """Images that take their time, and count how often they were asked for."""

    def __init__(self, seconds=0.0, fails_at=None):
        self.images, self.seconds, self.fails_at = numbered().images, seconds, fails_at
        self.shape, self.asked = self.images.shape, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, indices):
        self.asked += 1
        if self.asked == self.fails_at:
            raise ValueError("some.png cannot be decoded")
        time.sleep(self.seconds)
        return self.images[indices]


def slow(*args):
    return Split(Slow(*args), np.arange(10) % 5)


def test_no_more_is_made_ahead_than_promised():
    split = slow()
    iterator = batches_of(split, workers=2).starting_at(0)
    next(iterator)
    time.sleep(0.2)
    assert split.images.asked == 5  # one handed out, four ahead
    next(iterator)
    time.sleep(0.2)
    assert split.images.asked == 6
    iterator.close()


def test_threads_end_with_the_iterator():
    assert no_threads()
    iterator = batches_of(numbered()).starting_at(0)
    next(iterator)
    assert len(threads()) == 2
    iterator.close()
    assert no_threads()
    iterator = batches_of(numbered()).starting_at(0)
    next(iterator)
    del iterator
    gc.collect()
    assert no_threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_reaches_the_consumer(workers):
    iterator = batches_of(slow(0.0, 3), workers=workers).starting_at(0)
    next(iterator)
    with pytest.raises(ValueError, match=r"some\.png"):
        for _ in range(3):
            next(iterator)
    assert no_threads()


def test_the_share_of_waiting_is_measured():
    def share(seconds, work, workers):
        batches = batches_of(slow(seconds), workers=workers)
        iterator = batches.starting_at(0)
        for _ in range(9):
            next(iterator)
            time.sleep(work)
        iterator.close()
        assert batches.waiting.batches == 8
        return batches.waiting.share

    assert share(0.0, 0.03, workers=2) < 0.2
    # Making a batch takes as long as the work on it: half of the time without threads.
    assert 0.4 < share(0.03, 0.03, workers=0) < 0.6
    assert share(0.015, 0.03, workers=2) < 0.2
    assert share(0.03, 0.0, workers=0) > 0.9


def test_fit_takes_them():
    split = numbered(40)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(5)])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    batches = batches_of(split, augment=Augmentation(crop=1, mixup=0.2))
    history = model.fit(
        batches.starting_at(0), steps_per_epoch=5, epochs=2, shuffle=False, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()
    del history
    assert batches.waiting.batches >= 9


# --- the same bytes everywhere -------------------------------------------------------------------

SETTINGS = {
    "plain": Augmentation(),
    "crop, flip": Augmentation(crop=2, flip=True),
    "mixup, cutmix": Augmentation(mixup=0.3, cutmix=1.0),
    "all": Augmentation(crop=2, flip=True, mixup=0.3, cutmix=1.0, rand_augment=0.9),
}


def digests():
    """One for each setting, of the first batches."""
    images = np.random.default_rng(1).integers(0, 256, (64, 10, 10, 3)).astype(np.uint8)
    split = Split(images, np.arange(64) % 5)
    result = []
    for augment in SETTINGS.values():
        key = hashlib.sha256()
        for x, y in take(batches_of(split, 24, augment=augment, seed=3, label_smoothing=0.1), 6):
            key.update(x.tobytes())
            key.update(y.tobytes())
        result.append(key.hexdigest())
    return result


_OTHER_PROCESS = """
from tests.recipes.vision.test_batches import *
print(keras.backend.backend(), *digests())
iterator = batches_of(numbered()).starting_at(0)
next(iterator)
raise KeyboardInterrupt
"""


def test_another_backend_makes_the_same_batches(backend):
    other = "tensorflow" if backend == "jax" else "jax"
    done = subprocess.run(
        [sys.executable, "-c", _OTHER_PROCESS],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "KERAS_BACKEND": other},
        timeout=240,
    )
    # That it has ended says that batches under way keep no interrupted process alive.
    assert "KeyboardInterrupt" in done.stderr
    name, *theirs = done.stdout.split()
    assert name == other
    ours = digests()
    assert dict(zip(SETTINGS, ours, strict=True)) == dict(zip(SETTINGS, theirs, strict=True))
    assert len(set(ours)) == len(SETTINGS)
