"""The training loop of every recipe: Keras' `fit`, from one evaluation to the next."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keras_h0h1.callbacks import LearningRateLogger
from recipes.common import distribute
from recipes.common.environment import describe_environment
from recipes.common.files import atomic, write_json
from recipes.common.plots import Curves, plot_runs
from recipes.common.run_folder import RunFolder
from recipes.common.settings import Training
from recipes.common.tables import text
from recipes.common.tensorboard import Board


@dataclasses.dataclass(frozen=True)
class Task:
    """What a recipe hands to `run_training`.

    Args:
        batches: From a number of micro-batches to an endless iterator of `(x, y)` that starts
            after so many; a pure function, so that a resumed run sees the same data.
        validation: Held-out `(x, y)`; their number is a multiple of `batch_size`.
        unit: What the speed is counted in: `"tokens"`, `"images"`.
        units_per_update: How many of them one update takes.
        baselines: Validation losses to beat, by name, such as that of the unigram model.
        source: Which data, for `summary.json`.
        exported: From the model that is trained to the one that is saved at the end.
    """

    batches: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]
    validation: tuple[np.ndarray, np.ndarray]
    unit: str
    units_per_update: int
    baselines: dict[str, float]
    source: str
    exported: Callable[[keras.Model], keras.Model] = lambda model: model


class _Watch(keras.callbacks.Callback):
    """Moves the progress bar and remembers when each update ended."""

    def __init__(self, progress, bar, logger, accumulate, task):
        super().__init__()
        self.progress, self.bar, self.logger = progress, bar, logger
        self.accumulate, self.task = accumulate, task
        self.ended: list[float] = []
        self.durations: list[float] = []

    def on_train_begin(self, logs=None):
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.accumulate:
            return
        now = time.perf_counter()
        self.ended.append(now)
        self.durations.append(now - self._last)
        self._last = now
        history = self.logger.history
        # Over the last updates: the first one of a run is compilation.
        speed = self.task.units_per_update / statistics.median(self.durations[-20:])
        self.progress.update(
            self.bar,
            advance=1,
            loss=f"{history['batch_loss'][-1]:.3f}",
            rate=f"{history['learning_rate'][-1]:.2e}",
            speed=f"{speed:,.0f} {self.task.unit}/s",
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  rate {task.fields[rate]}  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        # A log file gets the line that each evaluation prints, not a bar.
        disable=not console.is_terminal,
        transient=True,
    )


def run_training(
    model: keras.Model, task: Task, config: Training, folder: RunFolder, console: Console
) -> dict:
    """Trains a compiled model to `config.steps` and leaves the results in the run folder.

    At each evaluation metrics are written and a checkpoint is saved, so a run that is killed
    loses nothing before it.

    Args:
        model: Compiled with an optimizer from `recipes.common.optimizers`; with the weights of
            the checkpoint if the run is resumed.
        task: Data and names.
        config: The resolved configuration.
        folder: Where to write. Its newest checkpoint tells how far the run is.
        console: Where to print.

    Returns:
        The summary, as in `summary.json`. A run stopped by `stop_after` has `"finished": False`.
    """
    devices = distribute.current()
    devices.prepare(model, config.batch_size, config.accumulate)
    validation = devices.local(task.validation, config.batch_size)
    checkpoint = folder.latest_checkpoint()
    step = checkpoint[1] if checkpoint else 0
    folder.truncate(step)
    evaluations = folder.read("evaluations.csv")
    before = evaluations[-1]["seconds"] if evaluations else 0.0
    start = time.perf_counter() - before
    board = Board(folder.path / "tensorboard")
    logger = LearningRateLogger(every=config.accumulate)
    end = min(config.steps, config.stop_after or config.steps)
    diverged = False

    def evaluate(step: int, training_loss: float, progress: Progress) -> float:
        loss = model.evaluate(
            *validation, batch_size=config.batch_size // devices.parts, verbose=0, return_dict=True
        )["loss"]
        seconds = time.perf_counter() - start
        row = {
            "step": step,
            "seconds": round(seconds, 3),
            "loss": training_loss,
            "validation_loss": loss,
        }
        folder.append("evaluations.csv", [row])
        board.write({"validation/loss": loss}, step)
        speed = ""
        if watch.durations:
            median = statistics.median(watch.durations[-config.eval_every :])
            speed = f"{task.units_per_update / median:,.0f} {task.unit}/s, "
        progress.console.print(
            f"{step:>7}/{config.steps} updates: training loss {text(training_loss)}, "
            f"validation loss {loss:.4f}, {speed}{seconds:.0f} s",
            highlight=False,
            soft_wrap=True,
        )
        return loss

    with _progress(console) as progress:
        bar = progress.add_task(
            config.schedule, total=config.steps, completed=step, loss="-", rate="-", speed="-"
        )
        watch = _Watch(progress, bar, logger, config.accumulate, task)
        if not step:
            evaluate(0, float("nan"), progress)
        while step < end and not diverged:
            # To the next evaluation; a resumed run falls back into the same rhythm.
            stop = min(end, (step // config.eval_every + 1) * config.eval_every)
            first = len(watch.ended)
            fitted = model.fit(
                devices.feed(task.batches, step * config.accumulate, config.batch_size),
                steps_per_epoch=(stop - step) * config.accumulate,
                epochs=1,
                shuffle=False,
                verbose=0,
                callbacks=[logger, watch],
            )
            rows = [
                {
                    "step": step + 1 + i - first,
                    "seconds": round(watch.ended[i] - start, 3),
                    "loss": logger.history["batch_loss"][i],
                    "learning_rate": logger.history["learning_rate"][i],
                    "factor": logger.history["learning_rate_factor"][i],
                    "base_learning_rate": logger.history["base_learning_rate"][i],
                }
                for i in range(first, len(watch.ended))
            ]
            folder.append("metrics.csv", rows)
            for row in rows:
                names = ("loss", "learning_rate", "factor")
                board.write({f"training/{name}": row[name] for name in names}, row["step"])
            step = stop
            # The optimizer passes over a loss that is not finite; Keras' own mean shows it.
            finite = math.isfinite(fitted.history["loss"][-1])
            loss = statistics.fmean(row["loss"] for row in rows) if finite else float("nan")
            validation_loss = evaluate(step, loss, progress)
            diverged = not (finite and math.isfinite(validation_loss))
            if not diverged:
                folder.save_checkpoint(model, step)
    board.close()
    if diverged:
        console.print(
            f"[bold red]Diverged[/]: the loss is not finite after {step} updates. The last "
            "checkpoint is from before; try a lower --peak-lr or, with h0h1, a lower --C."
        )
    summary = _summarise(task, config, folder, watch, step, diverged)
    if config.schedule == "h0h1" and summary["first_step_at_peak_rate"] is None:
        console.print(
            f"The rate never reached its peak: no batch's loss fell to C = {config.C:.3g} before "
            "the final decay. A larger --C raises the rate.",
            highlight=False,
            soft_wrap=True,
        )
    if summary["finished"] and not diverged:
        with atomic(folder.path / "model.keras") as partial:
            task.exported(model).save(partial)
    write_json(folder.path / "summary.json", summary)
    plot_runs(
        {config.schedule: Curves.read(folder)}, folder.path / "plot.png", baselines=task.baselines
    )
    return summary


def _summarise(task, config, folder, watch, step, diverged) -> dict:
    metrics, evaluations = folder.read("metrics.csv"), folder.read("evaluations.csv")
    # Rates are float32 in the file; the peak is what the user wrote.
    peak = config.peak_lr * (1 - 1e-6)
    reached = [int(row["step"]) for row in metrics if row["learning_rate"] >= peak]
    last, nan = evaluations[-1], float("nan")
    loss = nan if diverged else last["validation_loss"]
    return {
        "schedule": config.schedule,
        "C": config.C if config.schedule == "h0h1" else None,
        "seed": config.seed,
        "finished": step >= config.steps or diverged,
        "diverged": diverged,
        "steps": step,
        "initial_validation_loss": evaluations[0]["validation_loss"],
        "final_training_loss": nan if diverged else last["loss"],
        "final_validation_loss": loss,
        # Past exp(700) a float overflows, and no one reads such a perplexity.
        "perplexity": math.exp(min(loss, 700.0)),
        "baselines": task.baselines,
        "first_step_at_peak_rate": reached[0] if reached else None,
        "seconds": metrics[-1]["seconds"] if metrics else 0.0,
        "seconds_of_first_update": round(watch.durations[0], 3) if watch.durations else None,
        f"{task.unit}_per_second": round(
            task.units_per_update / statistics.median(watch.durations[1:] or watch.durations)
        )
        if watch.durations
        else None,
        f"{task.unit}_seen": step * task.units_per_update,
        "data": task.source,
        "environment": describe_environment(),
    }
