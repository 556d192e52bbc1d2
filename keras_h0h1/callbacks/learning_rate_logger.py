"""The rate of every batch, where people look for it: logs, History, a CSV file, TensorBoard."""

import csv
import os

import keras
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._validation import check_integer
from keras_h0h1.optimizers import LossAware

FIELDS = ("step", "batch_loss", "learning_rate", "learning_rate_factor", "base_learning_rate")


class LearningRateLogger(keras.callbacks.Callback):
    """Records the effective rate, the loss-driven factor and the base rate, batch by batch.

    `learning_rate = base_learning_rate * learning_rate_factor`, each of the step that has just
    been taken, and `batch_loss`, the loss that decided it (Keras' own `loss` is the mean since
    the epoch began). The last three also go into the batch's and the epoch's `logs`, so that the
    progress bar, `History`, `CSVLogger` and `TensorBoard` show them.

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
        append: Boolean, go on with an existing CSV file, as after `BackupAndRestore`. Defaults to
            `False`: start anew.

    Attributes:
        history: Dictionary of lists, one for each of `step` (the number of steps taken, over
            all calls of `fit`), `batch_loss`, `learning_rate`, `learning_rate_factor` and
            `base_learning_rate`.

    Raises:
        ImportError: If `tensorboard_dir` is given and `tensorboard` is not installed.
        TypeError, ValueError: If `every` is not a positive integer.

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
    ):
        super().__init__()
        self.csv_path = csv_path
        self.tensorboard_dir = tensorboard_dir
        self.every = check_integer("every", every, low=1)
        self.append = append
        self.history: dict[str, list] = {field: [] for field in FIELDS}
        self._batch = 0
        self._last: dict[str, float] = {}
        self._file = None
        self._csv = None
        self._writer = None
        self._summary_writer = None
        if tensorboard_dir is not None:
            try:
                from tensorboard.summary import Writer
            except ImportError as error:
                raise ImportError(
                    "`tensorboard_dir` needs the package `tensorboard`: pip install tensorboard. "
                    f"Received: tensorboard_dir={tensorboard_dir!r}"
                ) from error
            self._summary_writer = Writer

    def on_train_begin(self, logs=None):
        if self.csv_path is not None:
            continues = self.append and os.path.exists(self.csv_path)
            mode = "a" if continues else "w"
            self._file = open(self.csv_path, mode, newline="", encoding="utf-8")
            self._csv = csv.writer(self._file)
            if not continues:
                self._csv.writerow(FIELDS)
        if self._summary_writer is not None:
            self._writer = self._summary_writer(str(self.tensorboard_dir))

    def on_train_batch_end(self, batch, logs=None):
        self._batch += 1
        if self._batch % self.every:
            return
        row = read_rates(_keras.callback_model(self))
        for field, value in row.items():
            self.history[field].append(value)
        if self._csv is not None:
            self._csv.writerow([row[field] for field in FIELDS])
        if self._writer is not None:
            for field in FIELDS[1:]:
                self._writer.add_scalar(f"batch/{field}", row[field], row["step"])
        self._last = {field: row[field] for field in FIELDS[2:]}
        if logs is not None:
            logs.update(self._last)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs.update(self._last)
        if self._file is not None:
            self._file.flush()
        if self._writer is not None:
            self._writer.flush()

    def on_train_end(self, logs=None):
        if self._file is not None:
            self._file.close()
            self._file = self._csv = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def read_rates(model) -> dict[str, float]:
    """One row of the logger: the rates of the step that `model` has just taken.

    Args:
        model: A compiled model, in the midst of `fit` or outside it.

    Returns:
        Dictionary with the keys of `LearningRateLogger.history`, as Python numbers.

    Raises:
        ValueError: If the optimizer has several learning rates.
    """
    optimizer = model.optimizer
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if isinstance(optimizer, LossAware):
        if len(optimizer.rate_states) != 1:
            raise ValueError(
                "The optimizer has several learning rates; log those of its `optimizers`. "
                f"Received: {len(optimizer.rate_states)} loss-driven schedules"
            )
        state = optimizer.rate_states[0]
        leaf, schedule = state.leaf, state.schedule
        counter = _keras.get_iterations(leaf)
        names = list(state.variables)
        step, *values = _keras.read_variables(
            model, [counter, *(state.variables[name] for name in names)]
        )
        # Plain numbers again as tensors, without losing digits: schedules compute with tensors.
        values = {
            name: ops.convert_to_tensor(value, dtype=_keras.state_dtype())
            for name, value in zip(names, values, strict=True)
        }
        last = max(int(step) - 1, 0)
        return {
            "step": int(step),
            "batch_loss": float(values["loss"]),
            "learning_rate": float(schedule.effective_rate(last, values)),
            "learning_rate_factor": float(schedule.factor(values)),
            "base_learning_rate": float(schedule.base_rate(last, values)),
        }
    counter = _keras.get_iterations(optimizer)
    rate = _keras.get_schedule(optimizer)
    if isinstance(rate, keras.Variable):
        step, value = _keras.read_variables(model, [counter, rate])
    else:
        (step,) = _keras.read_variables(model, [counter])
        is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        value = float(rate(max(int(step) - 1, 0)) if is_schedule else rate())
    return {
        "step": int(step),
        "batch_loss": float("nan"),
        "learning_rate": value,
        "learning_rate_factor": 1.0,
        "base_learning_rate": value,
    }
