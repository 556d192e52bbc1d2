"""What a schedule will do, before anything is trained: its rates along given losses."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._compiled import compiled
from keras_h0h1._types import Figure
from keras_h0h1._validation import check_integer
from keras_h0h1.schedules.base import LossDrivenSchedule

Curve = Sequence[float] | np.ndarray | Callable[[int], float] | Mapping[str, Sequence[float]] | Any


@dataclasses.dataclass(frozen=True, eq=False)
class Simulation:
    """The rates of a schedule, update by update; what `simulate` returns.

    The names are those of `LearningRateLogger.history`, so that the two can be laid side by side.

    Attributes:
        step: The optimizer's count of steps after each update, 1 at first.
        batch_loss: The loss that the update's rate follows; NaN where none was given.
        learning_rate: The base rate.
        learning_rate_factor: The loss-driven factor; 1 for a schedule that follows the step alone.
        effective_learning_rate: The rate that reaches the weights.
    """

    step: np.ndarray
    batch_loss: np.ndarray
    learning_rate: np.ndarray
    learning_rate_factor: np.ndarray
    effective_learning_rate: np.ndarray

    def plot(self, path: str | os.PathLike | None = None, title: str | None = None) -> Figure:
        """Draws loss, factor and rates one below the other.

        Args:
            path: Where to save the figure, or `None`.
            title: Title of the figure, or `None`.

        Returns:
            The matplotlib figure.

        Raises:
            ImportError: If the package `matplotlib` is not installed.
        """
        from keras_h0h1.schedules._simulation_plot import draw

        return draw(self, path=path, title=title)


def simulate(
    schedule: keras.optimizers.schedules.LearningRateSchedule,
    losses: Curve | None = None,
    gradient_norms: Curve | None = None,
    steps: int | None = None,
    steps_per_update: int = 1,
) -> Simulation:
    r"""The rates that an optimizer with this schedule takes if it sees these losses.

    Nothing is trained and the schedule is not changed. The numbers are those of `LossAware`, with
    its treatment of losses that are not finite, in the precision of the training state (float32
    unless `floatx` is float64). What it cannot know is how another rate would have changed the
    losses.

    Args:
        schedule: A loss-driven schedule, or any other Keras schedule, to compare with.
        losses: The loss of each update, or a coarser curve that is stretched over `steps` updates:

            * a sequence or array of numbers;
            * a `keras.callbacks.History` or a `LearningRateLogger` of an earlier run, or its
              `history` (the losses of its batches if it has them, else the mean of each epoch);
            * a function of the update 0, 1, ...; needs `steps`.

            May be left out for a schedule that follows the step alone.
        gradient_norms: The norm of each update's gradient, as a sequence or a function; for the
            schedules that use it, as `GradientNormLearningRate`.
        steps: Integer, the number of updates. Defaults to the number of losses. If it differs
            from that, the losses count as the means of `len(losses)` equally long parts of the
            run, as a History's epochs are, and the values between are interpolated.
        steps_per_update: Integer, the optimizer's `gradient_accumulation_steps`; `losses` are
            then the means over the windows. Defaults to `1`.

    Returns:
        A `Simulation`, with float64 arrays of one entry an update, and `plot()`.

    Raises:
        TypeError: If `schedule` is no schedule, or an argument is of another kind.
        ValueError: If losses, norms or the number of updates are needed and missing, or a constant
            of the schedule is not usable in the dtype.

    Example: a loss that falls from 8 to 1 in 8 updates; the factor is 1 from a loss of 4 on.

    >>> from keras_h0h1 import LossAdaptiveLearningRate
    >>> from keras_h0h1.schedules import simulate
    >>> run = simulate(LossAdaptiveLearningRate(0.1, C=4.0), [8, 7, 6, 5, 4, 3, 2, 1])
    >>> run.effective_learning_rate.round(4).tolist()
    [0.05, 0.0571, 0.0667, 0.08, 0.1, 0.1, 0.1, 0.1]
    """
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        raise TypeError(
            "`schedule` must be a `keras.optimizers.schedules.LearningRateSchedule`. "
            f"Received: schedule={schedule!r}"
        )
    if steps is not None:
        steps = check_integer("steps", steps, low=1)
    steps_per_update = check_integer("steps_per_update", steps_per_update, low=1)
    losses = _curve("losses", losses, steps)
    if losses is not None:
        steps = len(losses)
    norms = _curve("gradient_norms", gradient_norms, steps)
    is_driven = isinstance(schedule, LossDrivenSchedule)
    if is_driven and losses is None:
        raise ValueError(
            f"`losses` is needed: {schedule!r} follows the loss. Received: losses=None"
        )
    if is_driven and schedule.needs_products:
        raise ValueError(
            "The rate of this schedule depends on the optimizer's averages of the gradient, so it "
            f"is known in training alone. Received: schedule={schedule!r}"
        )
    if is_driven and schedule.needs_gradient_norm and norms is None:
        raise ValueError(
            f"`gradient_norms` is needed: {schedule!r} follows the norm of the gradient. "
            "Received: gradient_norms=None"
        )
    if steps is None:
        raise ValueError("`steps` is needed where no losses are given. Received: steps=None")
    # Keras' counter at the micro-batch that ends the window, on which the weights move.
    counters = steps_per_update * np.arange(1, steps + 1) - 1
    if is_driven:
        base, factor, effective = _loss_driven(schedule, counters, losses, norms)
    else:
        base = effective = _by_step(schedule, counters)
        factor = np.ones(steps)
    if losses is None:
        losses = np.full(steps, np.nan)
    return Simulation(counters + 1, losses, base, factor, effective)


def plot(
    schedule: keras.optimizers.schedules.LearningRateSchedule,
    losses: Curve | None = None,
    gradient_norms: Curve | None = None,
    steps: int | None = None,
    steps_per_update: int = 1,
    path: str | os.PathLike | None = None,
    title: str | None = None,
) -> Figure:
    """Draws what a schedule will do: `simulate(...).plot(path, title)`.

    Args:
        schedule: The schedule.
        losses: As in `simulate`.
        gradient_norms: As in `simulate`.
        steps: As in `simulate`.
        steps_per_update: As in `simulate`.
        path: Where to save the figure, or `None`.
        title: Title of the figure. Defaults to the name of the schedule's class.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: If the package `matplotlib` is not installed.
        TypeError, ValueError: As `simulate`.
    """
    run = simulate(schedule, losses, gradient_norms, steps, steps_per_update)
    return run.plot(path=path, title=type(schedule).__name__ if title is None else title)


def _curve(name: str, values, steps: int | None) -> np.ndarray | None:
    """One float64 number for each update."""
    if values is None:
        return None
    if callable(values) and not isinstance(values, keras.callbacks.Callback):
        if steps is None:
            raise ValueError(
                f"`steps` is needed where `{name}` is a function. Received: steps=None"
            )
        values = [float(values(k)) for k in range(steps)]
    values = getattr(values, "history", values)
    if isinstance(values, Mapping):
        key = next((key for key in ("batch_loss", "loss") if key in values), None)
        if key is None:
            raise ValueError(
                f"`{name}` must have an entry 'batch_loss' or 'loss', if it is a history. "
                f"Received: {name} with {sorted(values)}"
            )
        values = values[key]
    try:
        values = np.asarray(values, dtype="float64")
    except (TypeError, ValueError):
        raise TypeError(
            f"`{name}` must be numbers, a history or a function. Received: {name}={values!r}"
        ) from None
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"`{name}` must be a sequence of at least one number. "
            f"Received: {name} of shape {values.shape}"
        )
    if steps is None or len(values) == steps:
        return values
    centres = (np.arange(len(values)) + 0.5) / len(values)
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(steps, np.nan)
    return np.interp((np.arange(steps) + 0.5) / steps, centres[finite], values[finite])


def _scan(advance, start, inputs, rows):
    """The entries `rows` of the state after each call of `advance(state, *inputs[i])`."""

    def body(state, now):
        state = advance(state, *now)
        return state, state

    def whole(*inputs):
        # Keras' scan on TensorFlow wants outputs that look like the state.
        _, states = ops.scan(body, start, inputs, length=inputs[0].shape[0])
        return tuple(states[name] for name in rows)

    tensors = [ops.convert_to_tensor(values, dtype=dtype) for values, dtype in inputs]
    found = compiled(whole)(*tensors)
    return [np.asarray(ops.convert_to_numpy(row), "float64") for row in found]


def _loss_driven(schedule, counters, losses, norms):
    dtype = _keras.state_dtype()
    schedule = schedule.copy()
    schedule.check_constants(dtype)

    def scalar(value):
        return ops.cast(ops.convert_to_tensor(value, dtype=dtype), dtype)

    names = ("simulated_base", "simulated_factor", "simulated_rate")
    start = schedule.first_state() | dict.fromkeys(names, 0.0)
    start = {name: scalar(np.asarray(value, dtype)) for name, value in start.items()}

    def advance(state, counter, loss, norm):
        state = {**state, **schedule.advance(state, counter, loss, norm)}
        row = (schedule.base_rate(counter, state), schedule.factor(state), state["last_rate"])
        return {**state, **dict(zip(names, map(scalar, row), strict=True))}

    if norms is None or not schedule.needs_gradient_norm:
        norms = np.zeros(len(losses))
    inputs = [(counters, "int32"), (losses, dtype), (norms, dtype)]
    return _scan(advance, start, inputs, names)


def _by_step(schedule, counters):
    dtype = _keras.state_dtype()
    start = {"rate": ops.convert_to_tensor(np.asarray(0.0, dtype))}

    def advance(state, counter):
        return {"rate": ops.cast(schedule(counter), dtype)}

    return _scan(advance, start, [(counters, "int32")], ["rate"])[0]
