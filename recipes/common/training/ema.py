"""The exponential moving average (EMA) of the weights, which is evaluated and saved."""

import contextlib
from collections.abc import Iterator

import keras
from keras import ops


def innermost(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer inside the wrappers for the loss and for loss scaling."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


class KeepTrainedWeights(keras.callbacks.Callback):
    """Stops Keras from overwriting the weights with their EMA at the end of `fit`.

    Here `fit` runs from one evaluation to the next, and the number of evaluations must not change
    the run.
    """

    def on_epoch_end(self, epoch, logs=None):
        # The compiled step has the averaging in it; the flag now decides the overwriting alone.
        self._was = innermost(self.model.optimizer).use_ema
        innermost(self.model.optimizer).use_ema = False

    def on_train_end(self, logs=None):
        innermost(self.model.optimizer).use_ema = self._was


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Inside the block the model has the EMA of its weights, if its optimizer keeps one.

    The statistics of batch normalisation are moving averages already, and stay.
    """
    optimizer = innermost(model.optimizer)
    if not (optimizer.use_ema and optimizer.built):
        yield
        return
    weights = optimizer._trainable_variables  # Keras has no public way to either list.
    averages = optimizer._model_variables_moving_average
    before = [ops.convert_to_numpy(weight).copy() for weight in weights]
    # Before the first update the average is still all zeros.
    if int(ops.convert_to_numpy(optimizer.iterations)):
        for weight, average in zip(weights, averages, strict=True):
            weight.assign(ops.convert_to_numpy(average))
    try:
        yield
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)
