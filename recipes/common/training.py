"""The training loop of every recipe: Keras' `fit`, from one evaluation to the next."""

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keras_h0h1.callbacks import LearningRateLogger
from recipes.common.checkpoint_writer import CheckpointWriter
from recipes.common.environment import describe_environment
from recipes.common.files import atomic, write_json
from recipes.common.generators import SteadyGenerators
from recipes.common.plots import Curves, plot_runs
from recipes.common.run_folder import RunFolder, configuration
from recipes.common.settings import Training
from recipes.common.signals import Stopped, StopSignals
from recipes.common.stopping import Guard, divergence_message, non_finite_weight
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
    """

    batches: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]
    validation: tuple[np.ndarray, np.ndarray]
    unit: str
    units_per_update: int
    baselines: dict[str, float]
    source: str


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


def _take_up(folder: RunFolder, config: Training, console: Console) -> int:
    """The updates made so far, with the folder as it was after them; says what it goes on from."""
    step, problems = folder.checkpoints.newest_valid()
    for path, problem in problems.items():
        aside = folder.checkpoints.set_aside(path)
        console.print(
            f"Skipped the checkpoint {path}: {problem}. It is now {aside.name}",
            highlight=False,
            soft_wrap=True,
        )
    if step is not None:
        console.print(
            f"Resumed from {folder.checkpoints.path_of(step)}, after {step} of {config.steps} "
            "updates",
            highlight=False,
            soft_wrap=True,
        )
    elif config.resume:
        console.print("The run has no checkpoint yet: it begins anew", highlight=False)
    folder.truncate(step or 0)
    return step or 0


def _leave(model, step, config, folder, writer, stop, progress) -> NoReturn:
    """The end of a run that was asked to stop: a checkpoint, how to go on, the exit status."""
    # The last turn may have begun one for this very step.
    writer.wait()
    if writer.last != step:
        writer.save(model, step)
        writer.wait()
    progress.console.print(
        f"Stopped by {stop.received.name} after {step} of {config.steps} updates, with a "
        f"checkpoint. To go on: the same program with --resume {folder.path}",
        highlight=False,
        soft_wrap=True,
    )
    raise Stopped(stop.received)


def run_training(
    model: keras.Model, task: Task, config: Training, folder: RunFolder, console: Console
) -> dict:
    """Trains a compiled model to `config.steps` and leaves the results in the run folder.

    Metrics are written before each checkpoint, and checkpoints while training goes on, so a run
    that is killed loses nothing before the last one. SIGTERM or Ctrl-C stops after the update
    with a checkpoint; a second one stops at once.

    Args:
        model: Compiled with an optimizer from `recipes.common.optimizers`; with the weights of
            the checkpoint if the run is resumed.
        task: Data and names.
        config: The resolved configuration.
        folder: Where to write. Its newest checkpoint tells how far the run is.
        console: Where to print.

    Returns:
        The summary, as in `summary.json`. A run stopped by `stop_after` has `"finished": False`.

    Raises:
        Stopped: After a signal, with the exit status for it.
        StorageError: If something could not be written.
    """
    step = _take_up(folder, config, console)
    evaluations, metrics = folder.read("evaluations.csv"), folder.read("metrics.csv")
    evaluated = int(evaluations[-1]["step"]) if evaluations else -1
    # Of the updates since the last evaluation; for the training loss that it reports.
    losses = [row["loss"] for row in metrics if row["step"] > evaluated]
    start = time.perf_counter() - max(
        (rows[-1]["seconds"] for rows in (evaluations, metrics) if rows), default=0.0
    )
    board = Board(folder.path / "tensorboard")
    logger = LearningRateLogger(every=config.accumulate)
    end = min(config.steps, config.stop_after or config.steps)
    checkpoint_every = config.checkpoint_every or config.eval_every
    problem = None

    def evaluate(step: int, training_loss: float, progress: Progress) -> float | None:
        """The validation loss, noted and printed; nothing of it if a signal came meanwhile."""
        loss = model.evaluate(
            *task.validation,
            batch_size=config.batch_size,
            verbose=0,
            return_dict=True,
            callbacks=[guard],
        )["loss"]
        if stop.received:
            return None
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

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopSignals())
        progress = stack.enter_context(_progress(console))
        writer = stack.enter_context(
            CheckpointWriter(
                folder.checkpoints,
                config.keep,
                configuration(config),
                last=step if step in folder.checkpoints.steps() else None,
            )
        )
        steady = SteadyGenerators()
        guard = Guard(model, config.accumulate, stop, writer)
        bar = progress.add_task(
            config.schedule, total=config.steps, completed=step, loss="-", rate="-", speed="-"
        )
        watch = _Watch(progress, bar, logger, config.accumulate, task)
        # The first one of all, or one that a signal or a kill came before.
        due = step >= end or not step % config.eval_every
        if not evaluations or (due and evaluated < step):
            evaluate(step, statistics.fmean(losses) if losses else float("nan"), progress)
            losses = []
        while step < end and not problem and not stop.received:
            # To the next turn of either; a resumed run falls back into the same rhythm.
            turns = (config.eval_every, checkpoint_every)
            to = min(end, *((step // turn + 1) * turn for turn in turns))
            first = len(watch.ended)
            model.fit(
                task.batches(step * config.accumulate),
                steps_per_epoch=(to - step) * config.accumulate,
                epochs=1,
                shuffle=False,
                verbose=0,
                callbacks=[logger, watch, guard, steady],
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
            step += len(rows)
            losses += [row["loss"] for row in rows]
            problem = guard.problem
            weight = None if problem else non_finite_weight(model)
            if weight:
                problem = f"{weight} is not finite"
            if problem or (not stop.received and (step == end or not step % config.eval_every)):
                validation_loss = evaluate(
                    step, float("nan") if problem else statistics.fmean(losses), progress
                )
                losses = []
                if validation_loss is not None and not math.isfinite(validation_loss):
                    problem = problem or "the validation loss is not finite"
            if not problem and (step == end or not step % checkpoint_every):
                steady.restore()
                writer.save(model, step)
        if stop.received and not problem:
            steady.restore()
            _leave(model, step, config, folder, writer, stop, progress)
    board.close()
    diverged = problem is not None
    if diverged:
        message = divergence_message(problem, step, config.schedule, writer)
        console.print(message, highlight=False, soft_wrap=True)
    summary = _summarise(task, config, folder, watch, step, diverged)
    if config.schedule == "h0h1" and not diverged and summary["first_step_at_peak_rate"] is None:
        console.print(
            f"The rate never reached its peak: no batch's loss fell to C = {config.C:.3g} before "
            "the final decay. A larger --C raises the rate.",
            highlight=False,
            soft_wrap=True,
        )
    if summary["finished"] and not diverged:
        with atomic(folder.path / "model.keras") as partial:
            model.save(partial)
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
