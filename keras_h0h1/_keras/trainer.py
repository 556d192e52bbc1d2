"""Private parts of Keras' trainers, with the reason for each."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras

from keras_h0h1._types import Tensor


def replace_optimizer(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Exchanges the optimizer of a compiled model, without losing metrics or weights.

    `compile` would reset the metrics. The train function has closed over the old optimizer, and
    the compile configuration is what `model.save` writes.
    """
    model.optimizer = optimizer
    model.train_function = None
    config = getattr(model, "_compile_config", None)
    if config is not None:
        config.config["optimizer"] = optimizer


def fit_is_beginning(model: keras.Model) -> bool:
    """Whether a callback's `set_model` is called by `fit`, not by `evaluate` or `predict`.

    Keras calls it in the same way in all three. Only `fit` has put a new `History` on the model
    just before, which does not know the run's parameters yet.
    """
    history = getattr(model, "history", None)
    return isinstance(history, keras.callbacks.History) and not history.params


def variable_scope(model: keras.Model) -> AbstractContextManager:
    """Where variables for `model` have to be made; callbacks run outside `strategy.scope()`."""
    if keras.backend.backend() == "tensorflow":
        return model.distribute_strategy.scope()
    return contextlib.nullcontext()


def callback_model(callback: keras.callbacks.Callback) -> keras.Model:
    """`callback.model` without its side effect on JAX: a sync of the whole training state."""
    return callback._model


@contextlib.contextmanager
def trained_with(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Lets `model.train_on_batch` train with another optimizer while the block runs.

    The train function has closed over the optimizer, and on JAX the trainer keeps the last state.
    Several steps per execution would ask `train_on_batch` for several batches. All of it is put
    back: a `fit` afterwards, or the one that is about to begin, does not compile again.
    """
    names = (
        "optimizer", "train_function", "steps_per_execution", "_jax_state", "_jax_state_synced",
    )  # fmt: skip
    before = {name: getattr(model, name) for name in names if hasattr(model, name)}
    try:
        model.optimizer, model.train_function, model.steps_per_execution = optimizer, None, 1
        yield
    finally:
        for name, value in before.items():
            setattr(model, name, value)


def has_own_train_step(model: keras.Model) -> bool:
    """Whether the model's `train_step` is not Keras' own, so that its loss may be any."""
    return type(model).train_step is not keras.Model.train_step


def compiled_loss(
    model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool
) -> Tensor:
    """The total objective of `compile`: loss, regularisers and `add_loss`."""
    # The wrapper that every trainer calls; it serves models whose `compute_loss` is older.
    return model._compute_loss(
        x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training
    )


def call_model(model: keras.Model, x: Any, training: bool) -> Any:
    """`model(x)`; Keras' trainers ask the same private flag before they pass `training`."""
    if getattr(model, "_call_has_training_arg", True):
        return model(x, training=training)
    return model(x)
