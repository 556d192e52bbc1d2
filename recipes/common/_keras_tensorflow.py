"""What Keras' optimizers do otherwise under `tf.distribute` than on one device, put right.

Beside `averages`, the only module of the recipes that touches private parts of Keras' optimizers.
"""

import keras

from recipes.common.averages import innermost


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
