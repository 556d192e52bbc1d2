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
from rich.text import Text

from keras_h0h1.callbacks import LearningRateLogger
from recipes.common.checkpoints.generators import SteadyGenerators
from recipes.common.checkpoints.writer import CheckpointWriter
from recipes.common.command_line.errors import printable
from recipes.common.command_line.settings import Training
from recipes.common.distribution import distribute
from recipes.common.files.writing import atomic, write_json
from recipes.common.results.environment import describe_environment
from recipes.common.results.plots import Curves, plot_runs
from recipes.common.results.run_folder import RunFolder, configuration
from recipes.common.results.tables import text
from recipes.common.training.averages import KeepWeights, averaged_weights
from recipes.common.training.signals import Stopped, StopSignals
from recipes.common.training.stopping import (
    Guard,
    divergence_message,
    lost_message,
    non_finite_weight,
)
from recipes.common.training.suggest import leave_with_suggestion
from recipes.common.training.tensorboard import Board


@dataclasses.dataclass(frozen=True)
class Task:
    """What a recipe hands to `run_training`.

    Args:
        batches: From a number of micro-batches to an endless iterator of `(x, y)` that starts
            after so many; a pure function, so that a resumed run sees the same data. Of several
            hosts each has its own part of every batch: see `Devices.local`.
        validation: Held-out `(x, y)`, all of them used. A number that `evaluation_batch` does not
            divide costs one more compilation.
        unit: What the speed is counted in: `"tokens"`, `"images"`.
        units_per_update: How many of them one update takes.
        baselines: Validation losses to beat, by name, such as that of the unigram model.
        source: Which data, for `summary.json`.
        evaluation_batch: Examples in a batch of the evaluation; `batch_size` by default.
        metrics: Names of the compiled metrics, each a mean over examples, that are written
            wherever the loss is.
        waiting: The share of the time so far that was spent waiting for data, 0 to 1.
        exported: From the model that is trained to the one that is saved at the end.
    """

    batches: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]
    validation: tuple[np.ndarray, np.ndarray]
    unit: str
    units_per_update: int
    baselines: dict[str, float]
    source: str
    evaluation_batch: int | None = None
    metrics: tuple[str, ...] = ()
    waiting: Callable[[], float] | None = None
    exported: Callable[[keras.Model], keras.Model] = lambda model: model


class _Watch(keras.callbacks.Callback):
    """Moves the progress bar and remembers when each update ended and what its metrics were."""

    def __init__(self, progress, bar, logger, accumulate, task):
        super().__init__()
        self.progress, self.bar, self.logger = progress, bar, logger
        self.accumulate, self.task = accumulate, task
        self.ended: list[float] = []
        self.durations: list[float] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_begin(self, logs=None):
        self._last = time.perf_counter()
        self._sums = {}

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.accumulate:
            return
        # Keras reports means since `fit` began; their sums tell those of this update.
        sums = {name: logs[name] * (batch + 1) for name in self.task.metrics}
        # Differences of float32 means: the digits after these are noise.
        self.metrics.append(
            {k: round((sums[k] - self._sums.get(k, 0.0)) / self.accumulate, 5) for k in sums}
        )
        self._sums = sums
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
            rate=f"{history['effective_learning_rate'][-1]:.2e}",
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


def evaluation_batch(examples: int, batch_size: int) -> int:
    """A size of about `batch_size` that divides the held-out examples, if there is one.

    A last batch of another size is evaluated rightly too, but compiles the model once more.

    Example:

    >>> evaluation_batch(10000, 128), evaluation_batch(360, 64), evaluation_batch(359, 64)
    (125, 60, 64)
    """
    fitting = [n for n in range(batch_size // 2, 2 * batch_size + 1) if n and examples % n == 0]
    return min(fitting, key=lambda n: abs(n - batch_size), default=min(batch_size, examples))


def _update_row(task, step, seconds, loss, metrics, rates) -> dict[str, float]:
    """A row of `metrics.csv`."""
    return {
        "step": step,
        "seconds": round(seconds, 3),
        "loss": loss,
        **{name: metrics.get(name, math.nan) for name in task.metrics},
        **dict(zip(("learning_rate", "factor", "base_learning_rate"), rates, strict=True)),
    }


def _evaluation_row(task, step, seconds, training, validation) -> dict[str, float]:
    """A row of `evaluations.csv`."""
    row = {"step": step, "seconds": round(seconds, 3)}
    for name in ("loss", *task.metrics):
        row[name] = training.get(name, math.nan)
        row[f"validation_{name}"] = validation.get(name, math.nan)
    return row


def _take_up(task: Task, folder: RunFolder, config: Training, console: Console) -> int:
    """The updates made so far, with the folder as it was after them; says what it goes on from."""
    step, problems = folder.checkpoints.newest_valid()
    # First, because it refuses damaged tables, and then nothing should have been renamed.
    folder.truncate(
        step or 0,
        config.eval_every,
        {
            "metrics.csv": list(_update_row(task, 0, 0.0, 0.0, {}, (0.0, 0.0, 0.0))),
            "evaluations.csv": list(_evaluation_row(task, 0, 0.0, {}, {})),
        },
    )
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
    strays = [f"{folder.checkpoints.path.name}/{name}" for name in folder.checkpoints.strays()]
    ignored = sorted({*strays, *folder.other_checkpoints()})
    if ignored:
        console.print(
            f"Ignored in {folder.path}, as no checkpoints of this run: "
            + printable(", ".join(ignored)),
            highlight=False,
            soft_wrap=True,
        )
    return step or 0


def _leave(model, step, config, folder, writer, guard, progress) -> NoReturn:
    """The end of a run that was asked to stop: a checkpoint, how to go on, the exit status."""
    # The last turn may have begun one for this very step.
    writer.wait()
    if guard.within:
        left = f"within update {step + 1} of {config.steps}. {lost_message(step, writer.last)}"
    else:
        if writer.last != step:
            writer.save(model, step)
            writer.wait()
        left = f"after {step} of {config.steps} updates, with a checkpoint"
    received = guard.stop.received
    progress.console.print(
        f"Stopped by {received.name} {left}. "
        f"To go on: the same program with --resume {folder.path}",
        highlight=False,
        soft_wrap=True,
    )
    raise Stopped(received)


def run_training(
    model: keras.Model, task: Task, config: Training, folder: RunFolder, console: Console
) -> dict:
    """Trains a compiled model to `config.steps` and leaves the results in the run folder.

    Metrics are written before each checkpoint, and checkpoints while training goes on, so a run
    that is killed loses nothing before the last one. SIGTERM or Ctrl-C stops after the update
    with a checkpoint, or within an update that would take long, without; a second one stops at
    once.

    Args:
        model: Compiled with an optimizer from `recipes.common.training.optimizers`; with the
            weights of the checkpoint if the run is resumed.
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
    devices = distribute.current()
    devices.prepare(model, config.batch_size, config.accumulate)
    if config.suggest:
        leave_with_suggestion(model, task, config, folder, console)
    validation, evaluated_at_once = task.validation, task.evaluation_batch or config.batch_size
    if devices.replicas > 1:
        validation, evaluated_at_once = devices.evaluation(validation, evaluated_at_once)
        validation = devices.local(validation, evaluated_at_once)
    step = _take_up(task, folder, config, console)
    evaluations, metrics = folder.read("evaluations.csv"), folder.read("metrics.csv")
    evaluated = int(evaluations[-1]["step"]) if evaluations else -1
    # The updates since the last evaluation, whose means it reports.
    pending = [row for row in metrics if row["step"] > evaluated]
    start = time.perf_counter() - max(
        (rows[-1]["seconds"] for rows in (evaluations, metrics) if rows), default=0.0
    )
    board = Board(folder.path / "tensorboard")
    logger = LearningRateLogger(every=config.accumulate)
    end = min(config.steps, config.stop_after or config.steps)
    checkpoint_every = config.checkpoint_every or config.eval_every
    problem = None

    def means(rows: list[dict]) -> dict[str, float]:
        names = ("loss", *task.metrics)
        return {name: statistics.fmean(row[name] for row in rows) for name in names if rows}

    def evaluate(step: int, training: dict[str, float], progress: Progress) -> float | None:
        """The validation loss, noted and printed; nothing of it if a signal came meanwhile."""
        with averaged_weights(model):
            values = model.evaluate(
                *validation,
                batch_size=evaluated_at_once // devices.parts,
                verbose=0,
                return_dict=True,
                callbacks=[guard],
            )
        if stop.received:
            return None
        loss = values["loss"]
        seconds = time.perf_counter() - start
        row = _evaluation_row(task, step, seconds, training, values)
        folder.append("evaluations.csv", [row])
        board.write({f"validation/{name}": value for name, value in values.items()}, step)
        speed = ""
        if watch.durations:
            median = statistics.median(watch.durations[-config.eval_every :])
            speed = f"{task.units_per_update / median:,.0f} {task.unit}/s, "
        progress.console.print(
            f"{step:>7}/{config.steps} updates: training loss "
            f"{text(training.get('loss', float('nan')))}, validation loss {loss:.4f}, "
            + "".join(f"{name} {values[name]:.4f}, " for name in task.metrics)
            + f"{speed}{seconds:.0f} s",
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
        bar = progress.add_task(
            config.schedule, total=config.steps, completed=step, loss="-", rate="-", speed="-"
        )
        watch = _Watch(progress, bar, logger, config.accumulate, task)
        guard = Guard(model, config.accumulate, stop, writer, watch.durations)
        # The first one of all, or one that a signal or a kill came before.
        due = step >= end or not step % config.eval_every
        if not evaluations or (due and evaluated < step):
            evaluate(step, means(pending), progress)
            pending = []
        while step < end and not problem and not stop.agreed():
            # To the next turn of either; a resumed run falls back into the same rhythm.
            turns = (config.eval_every, checkpoint_every)
            to = min(end, *((step // turn + 1) * turn for turn in turns))
            first = len(watch.ended)
            model.fit(
                devices.feed(task.batches, step * config.accumulate),
                steps_per_epoch=(to - step) * config.accumulate,
                epochs=1,
                shuffle=False,
                verbose=0,
                callbacks=[logger, watch, guard, steady, KeepWeights()],
            )
            history = logger.history
            rates = [
                history[name]
                for name in ("effective_learning_rate", "learning_rate_factor", "learning_rate")
            ]
            rows = [
                _update_row(
                    task,
                    step + 1 + i - first,
                    watch.ended[i] - start,
                    history["batch_loss"][i],
                    watch.metrics[i],
                    [rate[i] for rate in rates],
                )
                for i in range(first, len(watch.ended))
            ]
            folder.append("metrics.csv", rows)
            for row in rows:
                names = ("loss", *task.metrics, "learning_rate", "factor")
                board.write({f"training/{name}": row[name] for name in names}, row["step"])
            step += len(rows)
            pending += rows
            stopping = stop.agreed()
            problem = guard.problem
            weight = None if problem else non_finite_weight(model)
            if weight:
                problem = f"{weight} is not finite"
            if problem or (not stopping and (step == end or not step % config.eval_every)):
                validation_loss = evaluate(step, {} if problem else means(pending), progress)
                pending = []
                if validation_loss is not None and not math.isfinite(validation_loss):
                    problem = problem or "the validation loss is not finite"
            whole = not problem and not guard.within
            if whole and (step == end or not step % checkpoint_every):
                steady.restore()
                writer.save(model, step)
        if not problem and stop.agreed():
            steady.restore()
            _leave(model, step, config, folder, writer, guard, progress)
    board.close()
    diverged = problem is not None
    if diverged:
        message = Text(divergence_message(problem, step, config.schedule, writer))
        message.highlight_words(["Diverged"], "bold red")
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
        with atomic(folder.path / "model.keras") as partial, averaged_weights(model):
            distribute.whole(task.exported(model)).save(partial)
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
    accuracies = {
        f"final_{told}{name}": nan if diverged else last[f"{column}{name}"]
        for name in task.metrics
        for told, column in (("training_", ""), ("validation_", "validation_"))
    }
    # Past exp(700) a float overflows, and no one reads such a perplexity.
    perplexity = {"perplexity": math.exp(min(loss, 700.0))} if task.unit == "tokens" else {}
    waiting = {"share_waiting_for_data": task.waiting()} if task.waiting else {}
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
        "seconds_of_first_update": round(watch.durations[0], 3) if watch.durations else None,
        f"{task.unit}_per_second": round(
            task.units_per_update / statistics.median(watch.durations[1:] or watch.durations)
        )
        if watch.durations
        else None,
        f"{task.unit}_seen": step * task.units_per_update,
        **waiting,
        "data": task.source,
        "environment": describe_environment(),
    }
