"""The learning-rate finder at the beginning of `fit`."""

import os
from typing import Any

import keras

from keras_h0h1 import _keras
from keras_h0h1._types import Logs
from keras_h0h1.suggestion import Suggestion, suggest


class SuggestLearningRate(keras.callbacks.Callback):
    """Runs `keras_h0h1.suggestion.suggest` when `fit` begins, and applies the rate if asked to.

    The test costs about `steps` training steps and leaves the model, the optimizer and all
    generators as they were. It runs at the first `fit` with this callback, not again later.

    Args:
        x, y: Data for the test, as in `suggest`: callbacks do not see that of `fit`.
        apply: Whether to set the optimizer's base rate, `optimizer.learning_rate`, to the
            suggested one. Defaults to `False`: it is printed only.
        path: Where to save the figure, or `None`.
        verbose: 0 for silence, 1 to print the suggestion.
        **options: Of `suggest`: `batch_size`, `steps`, `rates`, ...

    Attributes:
        suggestion: The `Suggestion`, or `None` before `fit`.

    Raises:
        ValueError: In `fit`, with `apply=True`, if the base rate follows a schedule and cannot be
            set; and as `suggest` does.

    Example: the loss's curvature is 4, so gradient descent is stable below a rate of 0.5.

    >>> import keras, numpy as np
    >>> from keras_h0h1.callbacks import SuggestLearningRate
    >>> dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    >>> model = keras.Sequential([keras.Input((1,)), dense])
    >>> model.compile(keras.optimizers.SGD(1e-5), loss=lambda y, p: 0.5 * (p - y) ** 2)
    >>> x, y = np.full((8, 1), 2.0), np.zeros((8, 1))
    >>> finder = SuggestLearningRate(x, y, apply=True, verbose=0)
    >>> history = model.fit(x, y, verbose=0, callbacks=[finder])
    >>> 0.05 < float(model.optimizer.learning_rate) < 0.5
    True
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        apply: bool = False,
        path: str | os.PathLike | None = None,
        verbose: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        self.apply = apply
        self.path = path
        self.verbose = verbose
        self.suggestion: Suggestion | None = None
        self._data, self._options = (x, y), options

    def on_train_begin(self, logs: Logs = None) -> None:
        if self.suggestion is not None:
            return
        model = _keras.callback_model(self)
        if self.apply:
            _check_settable(model.optimizer)
        self.suggestion = suggest(model, *self._data, **self._options)
        if self.verbose:
            print(self.suggestion)
        if self.path is not None:
            self.suggestion.plot(self.path)
        if self.apply:
            model.optimizer.learning_rate = self.suggestion.base


def _check_settable(optimizer) -> None:
    """Raises before the test, which takes a while."""
    try:
        optimizer.learning_rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            "`apply=True` sets `optimizer.learning_rate`, which follows a schedule here. Compile "
            f"with a float, or leave `apply` out. Received: optimizer={optimizer!r}"
        ) from error
