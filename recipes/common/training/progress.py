"""The progress bar, and the duration and metrics of each update."""

import statistics
import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keras_h0h1.callbacks import LearningRateLogger
from recipes.common.training.task import Task


def progress_bar(console: Console) -> Progress:
    """The bar of a run; nothing in a log file, which gets the line that each evaluation prints."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  rate {task.fields[rate]}  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


class UpdateClock(keras.callbacks.Callback):
    """Moves the progress bar and notes when each update ended and what its metrics were.

    Args:
        progress: The bar.
        row: Its row.
        logger: Where loss and learning rate of each update are.
        micro_batches: Micro-batches in an update.
        task: Names of metrics and units.

    Attributes:
        ended: When each update ended, as of `time.perf_counter`.
        durations: Seconds that each update took.
        metrics: The compiled metrics of each update.
    """

    def __init__(
        self, progress: Progress, row, logger: LearningRateLogger, micro_batches: int, task: Task
    ):
        super().__init__()
        self.progress, self.row, self.logger = progress, row, logger
        self.micro_batches, self.task = micro_batches, task
        self.ended: list[float] = []
        self.durations: list[float] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_begin(self, logs=None):
        self._last = time.perf_counter()
        self._sums = {}

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.micro_batches:
            return
        # Keras reports means since `fit` began; differences of their sums are of this update.
        sums = {name: logs[name] * (batch + 1) for name in self.task.metrics}
        # Differences of float32 means: the digits after these are noise.
        self.metrics.append(
            {k: round((sums[k] - self._sums.get(k, 0.0)) / self.micro_batches, 5) for k in sums}
        )
        self._sums = sums
        now = time.perf_counter()
        self.ended.append(now)
        self.durations.append(now - self._last)
        self._last = now
        history = self.logger.history
        self.progress.update(
            self.row,
            advance=1,
            loss=f"{history['batch_loss'][-1]:.3f}",
            rate=f"{history['effective_learning_rate'][-1]:.2e}",
            # Over the last updates: the first one of a run is compilation.
            speed=self.speed(20),
        )

    def speed(self, updates: int) -> str:
        """The median speed of the last updates, in words; `""` before the first."""
        if not self.durations:
            return ""
        median = statistics.median(self.durations[-updates:])
        return f"{self.task.units_per_update / median:,.0f} {self.task.unit}/s"
