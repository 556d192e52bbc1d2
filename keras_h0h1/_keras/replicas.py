"""Replicas of `tf.distribute`; every other backend has one."""

import keras

from keras_h0h1._types import Tensor


def replica_key() -> int:
    """Which replica the calling thread traces: 0 everywhere but in `tf.distribute`.

    `MirroredStrategy` traces each replica in a thread of its own on the same Python optimizer,
    so whatever is held on that object between two calls needs one place per replica.
    """
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:
        return 0
    key = tf.get_static_value(context.replica_id_in_sync_group)
    # On a TPU the id is known on the device only; there one trace serves all replicas.
    return 0 if key is None else int(key)


def sum_over_replicas(loss: Tensor) -> Tensor:
    """The loss of the whole batch, on every replica.

    Under `tf.distribute` Keras divides the loss by the number of replicas and hands over the
    local part. With it each replica would take a rate of its own and the weights drift apart.
    JAX computes the loss of the global batch in the first place.
    """
    if num_replicas() == 1:
        return loss
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, loss)


def num_replicas() -> int:
    """Replicas of `tf.distribute` in sync; 1 on every other backend."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def num_replicas_of(model: keras.Model) -> int:
    """Replicas of the strategy that the model was made under; 1 on every backend but TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return model.distribute_strategy.num_replicas_in_sync
