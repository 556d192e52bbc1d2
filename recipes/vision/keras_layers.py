"""Keras' image preprocessing layers as pure functions, the same numbers beside every backend.

A Keras layer draws from a counter that it keeps, so what it does to a batch depends on how many
came before. Here each call brings its own seed. And under JAX or PyTorch the layers are made to
compute with TensorFlow on the CPU, as Keras itself does inside `tf.data`: random numbers differ
between backends, so nothing else gives the same batches everywhere. What touches Keras'
internals for this is in this file alone.
"""

import keras
import numpy as np


def import_tensorflow(purpose: str):
    """TensorFlow, which computes the layers beside any backend.

    Args:
        purpose: What needs it, for the message.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"{purpose} runs on Keras' preprocessing layers, which compute with TensorFlow on the "
            "CPU beside any backend, so that the batches are the same on all. Install it with "
            "`pip install tensorflow`, or keep to crop and flip, which need NumPy alone. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}, without TensorFlow"
        ) from error
    if keras.backend.backend() != "tensorflow":
        try:
            # Otherwise TensorFlow would take the memory of the GPU that JAX or PyTorch trains on.
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:
            pass  # it has been started by someone else, who knows what it may see
    return tf


class _Draws(keras.random.SeedGenerator):
    """A `SeedGenerator` without a variable: the draws follow from the seed it was given."""

    # The base class would keep a variable of the training's backend, so its constructor is left
    # out. Keras' random functions ask for nothing but `next`.
    def __init__(self, seed):
        self._seed, self._count = seed, 0

    def next(self, ordered=True):
        self._count += 1
        return self._seed + np.array([0, self._count], np.int32)


class PureLayer:
    """A preprocessing layer as a function of a seed and images, and of targets where it has them.

    Args:
        layer: A Keras image preprocessing layer made with `dtype="float32"`, or a mixed-precision
            policy would reach the data, and with a seed, or it would use up one of Python's
            random numbers.
        shape: Height, width and channels of the images.
        targets: Whether targets are transformed along with the images.
    """

    def __init__(
        self, layer: keras.layers.Layer, shape: tuple[int, int, int], targets: bool = False
    ):
        tf = import_tensorflow(type(layer).__name__)
        # The attribute that Keras itself switches in a tf.data pipeline. Here it is permanent: a
        # switch to and fro would not be thread-safe, and the layer is called nowhere else.
        layer.backend.set_backend("tensorflow")

        def transform(seed, images, *targets):
            # These three methods are what a layer's own `call` is made of; that, too, draws
            # first. They take a seed, `call` does not.
            drawn = layer.get_random_transformation(images, training=True, seed=_Draws(seed))
            images = layer.transform_images(images, drawn, training=True)
            return images, *(layer.transform_labels(t, drawn, training=True) for t in targets)

        # The number of images is left open: one tracing, made here and not in a worker, serves all.
        specs = [tf.TensorSpec((2,), tf.int32), tf.TensorSpec((None, *shape), tf.float32)]
        specs += [tf.TensorSpec((None, None), tf.float32)] if targets else []
        self._tf = tf
        with tf.device("CPU:0"):
            function = tf.function(transform, autograph=False)
            self._transform = function.get_concrete_function(*specs)

    def __call__(self, seed: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
        """Images, and targets `(n, classes)`, after the layer; float32.

        Args:
            seed: Two int32, as from `draw_seed`.
            *arrays: Images `(n, height, width, channels)`, and targets if the layer has them.
        """
        tf = self._tf
        with tf.device("CPU:0"):
            arrays = [tf.constant(array, tf.float32) for array in arrays]
            return [result.numpy() for result in self._transform(tf.constant(seed), *arrays)]


def draw_seed(rng: np.random.Generator) -> np.ndarray:
    """Two int32, with room above for the counter of `_Draws`."""
    return rng.integers(0, 2**30, size=2, dtype=np.int32)
