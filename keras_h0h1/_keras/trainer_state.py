"""Where a model's numbers are while it trains.

During `fit` on JAX the trainer holds the state in `model._jax_state` and empties the variables;
reading `callback.model` or calling `jax_state_sync()` would write all of it back at every batch.
The state is also donated to the next step, so tensors read here are to be used at once or copied.
"""

from collections.abc import Sequence

import keras
from keras import ops

from keras_h0h1._autodiff import read
from keras_h0h1._keras.optimizers import wrapped_chain


def _live(model, key):
    """The trainer's own list, or `None` where the variables hold their values."""
    # `_jax_state_synced` is True once a callback or the end of an epoch wrote the state back.
    if getattr(model, "_jax_state_synced", True):
        return None
    return (getattr(model, "_jax_state", None) or {}).get(key)


def trainable_values(model: keras.Model) -> list:
    """Current values of `model.trainable_variables`, as tensors."""
    live = _live(model, "trainable_variables")
    return list(live) if live else [read(v) for v in model.trainable_variables]


def state_variables(model: keras.Model) -> list:
    """What the loss reads besides weights: statistics, seeds, and the metrics.

    With several outputs the compiled loss keeps a running mean of each. Left out, those are
    constants of the compiled function, with which JAX 0.10.2 fails on the second call
    ("supplied 7 arguments but compiled program expected 13").
    """
    return list(model.non_trainable_variables) + list(model.metrics_variables)


def state_values(model: keras.Model) -> list:
    """Current values of `state_variables`, as tensors."""
    values = []
    for key in ("non_trainable_variables", "metrics_variables"):
        live = _live(model, key)
        values += list(live) if live else [read(v) for v in getattr(model, key)]
    return values


def optimizer_values(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> list:
    """Current values of some of `optimizer`'s variables, as tensors.

    During `fit` on JAX only those of `model.optimizer`, the outermost wrapper, are with the
    trainer.
    """
    live = _live(model, "optimizer_variables") if optimizer is model.optimizer else None
    if not live:
        return [read(v) for v in variables]
    position = {id(v): i for i, v in enumerate(optimizer.variables)}
    return [live[position[id(v)]] for v in variables]


def read_numbers(model: keras.Model, variables: Sequence[keras.Variable]) -> list[float]:
    """Current values of a few scalar variables of `model.optimizer`, in the midst of `fit`.

    On JAX it moves these scalars to the host, and nothing else of the training state.
    """
    values = optimizer_values(model, model.optimizer, variables)
    return [float(ops.convert_to_numpy(value)) for value in values]


def second_moment(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> tuple:
    """The optimizer that keeps a second moment, that moment for `variables`, its step count."""
    outermost = model.optimizer if optimizer is None else optimizer
    # Keras has no public access to a slot variable; `_velocities` is in the order of the
    # variables the optimizer was built with.
    inner = next((o for o in wrapped_chain(outermost) if getattr(o, "_velocities", None)), None)
    if inner is None:
        raise ValueError(
            "The optimizer keeps no second moment, or was not built yet (Adam, AdamW, Nadam, Lamb "
            "and RMSprop keep one once built). "
            f"Received: optimizer={type(outermost).__name__}"
        )
    position = {id(v): i for i, v in enumerate(inner._trainable_variables)}
    wanted = [inner._velocities[position[id(v)]] for v in variables]
    # The public `iterations` is no variable under gradient accumulation.
    *values, steps = optimizer_values(model, outermost, [*wanted, inner._iterations])
    return inner, values, int(steps) // (inner.gradient_accumulation_steps or 1)


def steps_to_update(model: keras.Model) -> int:
    """Number of training steps until the weights move: more than 1 while gradients accumulate."""
    outermost = getattr(model, "optimizer", None)
    # A wrapper shows the option of what it wraps; the counter that goes with it is the inner one.
    optimizer = wrapped_chain(outermost)[-1]
    period = getattr(optimizer, "gradient_accumulation_steps", None)
    if not period:
        return 1
    # Keras updates where `(_iterations + 1) % period` is 0; the public `iterations` counts
    # updates, not steps.
    (steps,) = optimizer_values(model, outermost, [optimizer._iterations])
    return period - int(steps) % period
