"""Writes a run's tables and TensorBoard curves, and sums them up."""

import math
import statistics
import time

from keras_h0h1.callbacks import LearningRateLogger
from recipes.common.command_line.settings import Training
from recipes.common.results.environment import describe_environment
from recipes.common.results.run_folder import RunFolder
from recipes.common.training.progress import UpdateClock
from recipes.common.training.task import Task
from recipes.common.training.tensorboard import Board

_RATES = {
    "learning_rate": "effective_learning_rate",
    "factor": "learning_rate_factor",
    "base_learning_rate": "learning_rate",
}


class Recorder:
    """The tables of one run, continued where the folder's end.

    Args:
        folder: The run folder, with the rows of what is done again already removed.
        task: Names of metrics and units.

    Attributes:
        pending: Rows of the updates since the last evaluation, whose means it reports.
        evaluated: Updates made before the last evaluation; -1 before the first.
    """

    def __init__(self, folder: RunFolder, task: Task):
        self.folder, self.task = folder, task
        evaluations, metrics = folder.read("evaluations.csv"), folder.read("metrics.csv")
        self.evaluated = int(evaluations[-1]["step"]) if evaluations else -1
        self.pending = [row for row in metrics if row["step"] > self.evaluated]
        # The clock continues from where the resumed run stopped.
        self._start = time.perf_counter() - max(
            (rows[-1]["seconds"] for rows in (evaluations, metrics) if rows), default=0.0
        )
        self.board = Board(folder.path / "tensorboard")

    @staticmethod
    def columns(task: Task) -> dict[str, list[str]]:
        """The columns of each table, by file name."""
        return {
            "metrics.csv": ["step", "seconds", "loss", *task.metrics, *_RATES],
            "evaluations.csv": [
                "step",
                "seconds",
                *(
                    f"{split}{name}"
                    for name in ("loss", *task.metrics)
                    for split in ("", "validation_")
                ),
            ],
        }

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a resumption included."""
        return time.perf_counter() - self._start

    def updates(self, step: int, first: int, clock: UpdateClock, logger: LearningRateLogger) -> int:
        """Writes the updates that `fit` has made.

        Args:
            step: Updates made before them.
            first: Index of the first of them in the records of clock and logger.
            clock: Times and metrics.
            logger: Losses and learning rates.

        Returns:
            How many there are.
        """
        history = logger.history
        rows = [
            {
                "step": step + 1 + i - first,
                "seconds": round(clock.ended[i] - self._start, 3),
                "loss": history["batch_loss"][i],
                **{name: clock.metrics[i].get(name, math.nan) for name in self.task.metrics},
                **{column: history[name][i] for column, name in _RATES.items()},
            }
            for i in range(first, len(clock.ended))
        ]
        self.folder.append("metrics.csv", rows)
        names = ("loss", *self.task.metrics, "learning_rate", "factor")
        for row in rows:
            self.board.write({f"training/{name}": row[name] for name in names}, row["step"])
        self.pending += rows
        return len(rows)

    def training_means(self) -> dict[str, float]:
        """Means over the updates since the last evaluation; empty if there are none."""
        names = ("loss", *self.task.metrics)
        rows = self.pending
        return {name: statistics.fmean(row[name] for row in rows) for name in names if rows}

    def evaluation(self, step: int, training: dict[str, float], values: dict[str, float]) -> None:
        """Writes an evaluation after `step` updates."""
        row = {"step": step, "seconds": round(self.seconds, 3)}
        for name in ("loss", *self.task.metrics):
            row[name] = training.get(name, math.nan)
            row[f"validation_{name}"] = values.get(name, math.nan)
        self.folder.append("evaluations.csv", [row])
        self.board.write({f"validation/{name}": value for name, value in values.items()}, step)
        self.evaluated = step

    def summary(self, config: Training, step: int, clock: UpdateClock, diverged: bool) -> dict:
        """What `summary.json` holds."""
        task = self.task
        metrics = self.folder.read("metrics.csv")
        evaluations = self.folder.read("evaluations.csv")
        # Rates are float32 in the file; the peak is what the user wrote.
        peak = config.peak_lr * (1 - 1e-6)
        reached = [int(row["step"]) for row in metrics if row["learning_rate"] >= peak]
        last, nan = evaluations[-1], float("nan")
        loss = nan if diverged else last["validation_loss"]
        accuracies = {
            f"final_{split}{name}": nan if diverged else last[f"{column}{name}"]
            for name in task.metrics
            for split, column in (("training_", ""), ("validation_", "validation_"))
        }
        # Past exp(700) a float overflows.
        perplexity = {"perplexity": math.exp(min(loss, 700.0))} if task.unit == "tokens" else {}
        waiting = {"share_waiting_for_data": task.waiting()} if task.waiting else {}
        durations = clock.durations
        speed = None
        if durations:
            speed = round(task.units_per_update / statistics.median(durations[1:] or durations))
        return {
            "schedule": config.schedule,
            "peak_lr": config.peak_lr,
            "C": config.C if config.schedule == "h0h1" else None,
            "seed": config.seed,
            "finished": step >= config.steps or diverged,
            "diverged": diverged,
            "steps": step,
            "initial_validation_loss": evaluations[0]["validation_loss"],
            "final_training_loss": nan if diverged else last["loss"],
            "final_validation_loss": loss,
            **accuracies,
            **perplexity,
            "baselines": task.baselines,
            "first_step_at_peak_rate": reached[0] if reached else None,
            "seconds": metrics[-1]["seconds"] if metrics else 0.0,
            "seconds_of_first_update": round(durations[0], 3) if durations else None,
            f"{task.unit}_per_second": speed,
            f"{task.unit}_seen": step * task.units_per_update,
            **waiting,
            "data": task.source,
            "environment": describe_environment(),
        }
