"""The rate of every batch, where people look for it: logs, History, a CSV file, TensorBoard."""

import csv
import os
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._types import Logs
from keras_h0h1._validation import check_integer
from keras_h0h1.callbacks.scalar_writer import ScalarWriter
from keras_h0h1.optimizers import Layerwise, LossAware

FIELDS = ("step", "batch_loss", "learning_rate", "learning_rate_factor", "effective_learning_rate")


class LearningRateLogger(keras.callbacks.Callback):
    """Records the effective rate, the loss-driven factor and the base rate, batch by batch.

    `effective_learning_rate = learning_rate * learning_rate_factor`, each of the step that has
    just been taken, and `batch_loss`, the loss that decided it (Keras' own `loss` is the mean
    since the epoch began). `effective_learning_rate` and `learning_rate_factor` also go into the
    batch's and the epoch's `logs`, so that the progress bar, `History`, `CSVLogger` and
    `TensorBoard` show them. `learning_rate` in the logs, the base rate, stays with the callbacks
    of Keras that write it.

    A `MultiOptimizer` has several rates: the names then end in `/` and the name of the optimizer,
    as `learning_rate/adam`. Those of `keras_h0h1.optimizers.Layerwise` are multiples of one rate,
    which is logged.

    With an optimizer that is not loss-aware the factor is 1 and `batch_loss` is NaN: plain runs
    can be logged for comparison. With `steps_per_execution > 1` Keras calls back once per
    execution, so there is one row per execution, that of its last step.

    A few scalars are read per batch; on JAX, where `callback.model` would bring the whole
    training state back to the host, they are taken out of the trainer's state alone.

    Args:
        csv_path: Path of a CSV file to write, or `None`. One row a batch, flushed every epoch.
        tensorboard_dir: Folder for TensorBoard event files, or `None`. Needs the `tensorboard`
            package; works without TensorFlow.
        every: Integer >= 1, record every so many batches. Defaults to `1`.
        append: Boolean, append to an existing CSV file, as after `BackupAndRestore`. Defaults to
            `False`: start again.

    Attributes:
        history: Dictionary of lists, one for each of `step` (the number of steps taken, over
            all calls of `fit`), `batch_loss`, `learning_rate`, `learning_rate_factor` and
            `effective_learning_rate`.

    Warns:
        UserWarning: Once, if a batch's loss is below the schedule's `f_star`, as a negative loss
            is by default: the rate is then the base rate, whatever the loss.

    Raises:
        ImportError: If `tensorboard_dir` is given and `tensorboard` is not installed.
        TypeError, ValueError: If `every` is not a positive integer.
        ValueError: In training, if the file to append to has other columns.

    Example:

    >>> import keras, numpy as np
    >>> from keras_h0h1 import LossAdaptiveLearningRate, LossAware
    >>> from keras_h0h1.callbacks import LearningRateLogger
    >>> dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    >>> model = keras.Sequential([keras.Input((1,)), dense])
    >>> schedule = LossAdaptiveLearningRate(0.25, C=4.0)
    >>> model.compile(LossAware(keras.optimizers.SGD(schedule)), loss="mse")
    >>> logger = LearningRateLogger()
    >>> x, y = np.ones((12, 1)), 4.0 * np.ones((12, 1))
    >>> history = model.fit(x, y, batch_size=4, verbose=0, callbacks=[logger])
    >>> [round(float(f), 4) for f in logger.history["learning_rate_factor"]]
    [0.25, 0.3265, 0.4664]
    """

    def __init__(
        self,
        csv_path: str | os.PathLike | None = None,
        tensorboard_dir: str | os.PathLike | None = None,
        every: int = 1,
        append: bool = False,
    ) -> None:
        super().__init__()
        self.csv_path = csv_path
        self.tensorboard_dir = tensorboard_dir
        self.every = check_integer("every", every, low=1)
        self.append = append
        self.history: dict[str, list] = {field: [] for field in FIELDS}
        self._batch = 0
        self._needs_header = False
        self._header: list[str] = []
        self._last: dict[str, float] = {}
        self._file: Any = None
        self._csv: Any = None
        self._scalars = None if tensorboard_dir is None else ScalarWriter(tensorboard_dir)

    def on_train_begin(self, logs: Logs = None) -> None:
        # Of a training that was interrupted: Keras calls no `on_train_end` then.
        self._close_file()
        if self.csv_path is not None:
            continues = self.append and os.path.exists(self.csv_path)
            if continues:
                with open(self.csv_path, newline="", encoding="utf-8") as file:
                    self._header = next(csv.reader(file), [])
                # An empty file, as a run leaves it that was killed in its first batch.
                continues = bool(self._header)
            mode = "a" if continues else "w"
            self._file = open(self.csv_path, mode, newline="", encoding="utf-8")
            self._csv = csv.writer(self._file)
            # Its columns are known once the optimizer is built.
            self._needs_header = not continues
        if self._scalars is not None:
            self._scalars.open()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batch += 1
        if self._batch % self.every:
            return
        model = _keras.callback_model(self)
        row = read_rates(model)
        if row.keys() != self.history.keys():
            steps = len(self.history["step"])
            self.history = {field: [float("nan")] * steps for field in row} | self.history
            self.history = {field: self.history[field] for field in row}
        for field, value in row.items():
            self.history[field].append(value)
        if self._csv is not None:
            if self._needs_header:
                self._csv.writerow(row)
                self._header = list(row)
                self._needs_header = False
            if self._header != list(row):
                self._close_file()
                raise ValueError(
                    "The file to append to has other columns, as those of another optimizer or of "
                    f"an earlier version; choose another `csv_path`. Expected {list(row)}. "
                    f"Received: csv_path={str(self.csv_path)!r} with {self._header}"
                )
            self._csv.writerow(row.values())
        if self._scalars is not None:
            scalars = {f"batch/{field}": value for field, value in row.items() if field != "step"}
            self._scalars.write(scalars, int(row["step"]))
        self._last = {
            field: value
            for field, value in row.items()
            if field.startswith(("effective_learning_rate", "learning_rate_factor"))
        }
        if logs is not None:
            logs.update(self._last)
        for state in _loss_driven_states(model.optimizer):
            if np.isfinite(row["batch_loss"]):
                state.warn_once({"lowest_loss": row["batch_loss"]})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs.update(self._last)
        if self._file is not None:
            self._file.flush()
        if self._scalars is not None:
            self._scalars.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        self._close_file()
        if self._scalars is not None:
            self._scalars.close()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = self._csv = None


def read_rates(model: keras.Model) -> dict[str, float]:
    """One row of the logger: the rates of the step that `model` has just taken.

    Args:
        model: A compiled model, in the midst of `fit` or outside it.

    Returns:
        Dictionary with the keys of `LearningRateLogger.history`, as Python numbers.
    """
    optimizer = _keras.without_loss_scaling(model.optimizer)
    states = {id(state.leaf): state for state in _loss_driven_states(optimizer)}
    inner = optimizer.inner_optimizer if isinstance(optimizer, LossAware) else optimizer
    leaves = _keras.leaf_optimizers(inner)
    if isinstance(inner, Layerwise):
        return _unscaled_row(model, states)
    rows = [
        _loss_driven_row(model, states[id(leaf)]) if id(leaf) in states else _plain_row(model, leaf)
        for leaf in leaves
    ]
    if len(rows) == 1:
        return rows[0]
    losses = [row["batch_loss"] for row in rows if row["batch_loss"] == row["batch_loss"]]
    combined = {
        "step": max((row["step"] for row in rows), default=0),
        "batch_loss": losses[0] if losses else float("nan"),
    }
    names = [leaf.name for leaf in leaves]
    for i, row in enumerate(rows):
        name = names[i] if names.count(names[i]) == 1 else f"{names[i]}_{i}"
        combined |= {f"{field}/{name}": row[field] for field in FIELDS[2:]}
    return combined


def _loss_driven_states(optimizer):
    optimizer = _keras.without_loss_scaling(optimizer)
    return optimizer.rate_states if isinstance(optimizer, LossAware) else ()


def _loss_driven_row(model, state):
    schedule = state.schedule
    names = list(state.variables)
    step, *numbers = _keras.read_numbers(
        model, [_keras.get_iterations(state.leaf), *(state.variables[name] for name in names)]
    )
    # Plain numbers again as tensors, without losing digits: schedules compute with tensors.
    values = {
        name: ops.convert_to_tensor(value, dtype=_keras.state_dtype())
        for name, value in zip(names, numbers, strict=True)
    }
    last = max(int(step) - 1, 0)
    return {
        "step": int(step),
        "batch_loss": float(values["loss"]),
        "learning_rate": float(schedule.base_rate(last, values)),
        "learning_rate_factor": float(schedule.factor(values)),
        "effective_learning_rate": float(schedule.effective_rate(last, values)),
    }


def _unscaled_row(model, states):
    """The row of a multiplier of 1; each group's rates are its own multiple of these."""
    states = sorted(states.values(), key=lambda state: abs(state.schedule.multiplier - 1.0))
    row = _loss_driven_row(model, states[0])
    multiplier = states[0].schedule.multiplier
    if multiplier not in (0.0, 1.0):
        row["learning_rate"] /= multiplier
        row["effective_learning_rate"] /= multiplier
    return row


def _plain_row(model, optimizer):
    counter = _keras.get_iterations(optimizer)
    rate = _keras.get_schedule(optimizer)
    if isinstance(rate, keras.Variable):
        step, value = _keras.read_numbers(model, [counter, rate])
    else:
        (step,) = _keras.read_numbers(model, [counter])
        is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        value = float(rate(max(int(step) - 1, 0)) if is_schedule else rate())
    return {
        "step": int(step),
        "batch_loss": float("nan"),
        "learning_rate": value,
        "learning_rate_factor": 1.0,
        "effective_learning_rate": value,
    }
