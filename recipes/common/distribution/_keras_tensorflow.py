"""What goes otherwise under `tf.distribute` than on one device, put right.

Beside `averages`, the only module of the recipes that touches private parts of Keras' optimizers;
the only one that touches TensorFlow's.
"""

import itertools
from collections.abc import Sequence

import keras

from recipes.common.training.ema import innermost

_strategies = itertools.count(1)


def mirrored_strategy(devices: Sequence[str]):
    """A `MirroredStrategy` that may be followed by another one in the same process.

    Each strategy of TensorFlow numbers its collective operations from the same start. A second one
    on the same devices is taken for the first, and stops with "Shape mismatch in the collective
    instance" where its model has other shapes. TensorFlow's own tests move the start, as here.
    """
    import tensorflow as tf

    class MirroredStrategy(tf.distribute.MirroredStrategy):
        _collective_key_base = 100_000 * next(_strategies)

    return MirroredStrategy(devices)


def clip_the_sum_of_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes clipping act on the gradient of the whole batch under `tf.distribute`.

    Keras clips each replica's gradient and sums then, so several replicas clip otherwise than one
    device does: two gradients of norm 1 that point apart are not clipped where their sum is. Here
    they are summed first. Gradients that are not clipped are left to Keras.
    """
    optimizer = innermost(optimizer)
    if all(
        getattr(optimizer, name) is None for name in ("clipnorm", "clipvalue", "global_clipnorm")
    ):
        return
    # On the instance: a subclass would be another class in every file that is saved.
    clip, reduce = optimizer._clip_gradients, optimizer._all_reduce_sum_gradients

    def clip_sum(gradients):
        pairs = reduce([(g, None) for g in gradients])
        return clip([g for g, _ in pairs])

    optimizer._clip_gradients = clip_sum
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs
