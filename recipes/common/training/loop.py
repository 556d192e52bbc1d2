"""The training loop: Keras' `fit`, from one evaluation or checkpoint to the next."""

import contextlib
import dataclasses
import math
from typing import NoReturn

import keras
from rich.console import Console
from rich.text import Text

from keras_h0h1.callbacks import LearningRateLogger
from recipes.common.checkpoints.rng import RNGStateKeeper
from recipes.common.checkpoints.writer import CheckpointWriter
from recipes.common.command_line.errors import printable
from recipes.common.command_line.settings import Training
from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.files.writing import write_json
from recipes.common.results.plots import Curves, plot_runs
from recipes.common.results.run_folder import RunFolder, configuration
from recipes.common.results.tables import text
from recipes.common.training.ema import KeepTrainedWeights, averaged_weights
from recipes.common.training.progress import UpdateClock, progress_bar
from recipes.common.training.recorder import Recorder
from recipes.common.training.signals import Stopped, StopSignals
from recipes.common.training.stopping import (
    Guard,
    below_peak_message,
    divergence_message,
    lost_message,
    non_finite_weight,
)
from recipes.common.training.suggest import leave_with_suggestion
from recipes.common.training.task import Task


def run_training(
    model: keras.Model,
    task: Task,
    config: Training,
    folder: RunFolder,
    console: Console,
    devices: Devices = ONE_DEVICE,
) -> dict:
    """Trains a compiled model to `config.steps` and leaves the results in the run folder.

    Metrics are written before each checkpoint, and checkpoints while training continues, so a run
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
        devices: What the model was built on.

    Returns:
        The summary, as in `summary.json`. A run stopped by `stop_after` has `"finished": False`.

    Raises:
        Stopped: After a signal, with the exit status for it.
        StorageError: If something could not be written.
    """
    devices.prepare(model, config.batch_size, config.gradient_accumulation_steps)
    if config.suggest:
        leave_with_suggestion(model, task, config, folder, console, devices)
    return TrainingLoop(model, task, config, folder, console, devices).run()


@dataclasses.dataclass(frozen=True)
class Interval:
    """Tells when something is due: after every so many updates, and at the end of the run.

    Args:
        every: Updates between two times.
        end: Updates of the run.

    Example:

    >>> interval = Interval(every=4, end=10)
    >>> [step for step in range(1, 11) if interval.due(step)], interval.next(5), interval.next(8)
    ([4, 8, 10], 8, 10)
    """

    every: int
    end: int

    def due(self, step: int) -> bool:
        return step >= self.end or step % self.every == 0

    def next(self, step: int) -> int:
        return min(self.end, (step // self.every + 1) * self.every)


class TrainingLoop:
    """One run: resume; advance, evaluate and checkpoint when they are due; finish.

    A resumed run has its evaluations and checkpoints at the same updates as one that was never
    stopped. Arguments as of `run_training`.

    Attributes:
        step: Updates made so far.
        problem: What has diverged, in words, or `None`.
    """

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        config: Training,
        folder: RunFolder,
        console: Console,
        devices: Devices = ONE_DEVICE,
    ):
        self.model, self.task, self.config = model, task, config
        self.folder, self.console, self.devices = folder, console, devices
        self.end = min(config.steps, config.stop_after or config.steps)
        self.evaluations = Interval(config.eval_every, self.end)
        self.checkpoints = Interval(config.checkpoint_every or config.eval_every, self.end)
        self.validation = task.validation
        self.evaluation_batch = task.evaluation_batch or config.batch_size
        if devices.replicas > 1:
            shared, self.evaluation_batch = devices.evaluation(
                self.validation, self.evaluation_batch
            )
            self.validation = devices.local(shared, self.evaluation_batch)
        self.step = 0
        self.problem: str | None = None

    def run(self) -> dict:
        """Trains and returns the summary."""
        self.resume()
        with contextlib.ExitStack() as stack:
            self._open(stack)
            if self._evaluation_missing():
                self.evaluate()
            while self.step < self.end and not self.problem and not self.stop.agreed():
                self.advance()
                stopping = self.stop.agreed()
                self.look_for_divergence()
                if self.problem or (self.evaluations.due(self.step) and not stopping):
                    self.evaluate()
                if self.checkpoints.due(self.step):
                    self.checkpoint()
            if not self.problem and self.stop.agreed():
                self.leave()
        return self.finish()

    def resume(self) -> None:
        """Brings the folder to the state of its newest valid checkpoint, and says which it is."""
        folder = self.folder
        step, problems = folder.checkpoints.newest_valid()
        # First, because it refuses damaged tables, and then nothing should have been renamed.
        folder.truncate(step or 0, self.config.eval_every, Recorder.columns(self.task))
        for path, problem in problems.items():
            aside = folder.checkpoints.set_aside(path)
            self._say(f"Skipped the checkpoint {path}: {problem}. It is now {aside.name}")
        if step is not None:
            self._say(
                f"Resumed from {folder.checkpoints.path_of(step)}, after {step} of "
                f"{self.config.steps} updates"
            )
        elif self.config.resume:
            self._say("The run has no checkpoint yet: it starts from the beginning")
        strays = [f"{folder.checkpoints.path.name}/{name}" for name in folder.checkpoints.strays()]
        ignored = sorted({*strays, *folder.other_checkpoints()})
        if ignored:
            self._say(
                f"Ignored in {folder.path}, as no checkpoints of this run: "
                + printable(", ".join(ignored))
            )
        self.step = step or 0
        self.recorder = Recorder(folder, self.task)

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Makes what lives as long as training: signals, progress bar, checkpoint writer."""
        config, step = self.config, self.step
        self.stop = stack.enter_context(StopSignals(self.devices))
        progress = stack.enter_context(progress_bar(self.console))
        self.console = progress.console
        self.writer = stack.enter_context(
            CheckpointWriter(
                self.folder.checkpoints,
                config.max_to_keep,
                configuration(config),
                last=step if step in self.folder.checkpoints.steps() else None,
                devices=self.devices,
            )
        )
        self.rng = RNGStateKeeper()
        self.logger = LearningRateLogger(every=config.gradient_accumulation_steps)
        row = progress.add_task(
            config.schedule, total=config.steps, completed=step, loss="-", rate="-", speed="-"
        )
        self.clock = UpdateClock(
            progress, row, self.logger, config.gradient_accumulation_steps, self.task
        )
        self.guard = Guard(
            self.model,
            config.gradient_accumulation_steps,
            self.stop,
            self.writer,
            self.clock.durations,
            self.devices,
        )

    def _evaluation_missing(self) -> bool:
        """Whether there is none yet, or a signal or a kill came before the last one."""
        evaluated = self.recorder.evaluated
        return evaluated < 0 or (self.evaluations.due(self.step) and evaluated < self.step)

    def advance(self) -> None:
        """Trains up to the next evaluation or checkpoint, and records the updates made."""
        to = min(self.evaluations.next(self.step), self.checkpoints.next(self.step))
        first = len(self.clock.ended)
        micro_batches = self.config.gradient_accumulation_steps
        self.model.fit(
            self.devices.feed(self.task.batches, self.step * micro_batches),
            steps_per_epoch=(to - self.step) * micro_batches,
            epochs=1,
            shuffle=False,
            verbose=0,
            callbacks=[self.logger, self.clock, self.guard, self.rng, KeepTrainedWeights()],
        )
        self.step += self.recorder.updates(self.step, first, self.clock, self.logger)

    def look_for_divergence(self) -> None:
        """Notes a loss or a weight that is not finite."""
        self.problem = self.guard.problem
        weight = None if self.problem else non_finite_weight(self.model)
        if weight:
            self.problem = f"{weight} is not finite"

    def evaluate(self) -> None:
        """Evaluates, records and prints; leaves no trace if a signal came meanwhile."""
        training = {} if self.problem else self.recorder.training_means()
        with averaged_weights(self.model):
            values = self.model.evaluate(
                *self.validation,
                batch_size=self.evaluation_batch // self.devices.parts,
                verbose=0,
                return_dict=True,
                callbacks=[self.guard],
            )
        self.recorder.pending = []
        if self.stop.received:
            return
        self.recorder.evaluation(self.step, training, values)
        speed = self.clock.speed(self.config.eval_every)
        self._say(
            f"{self.step:>7}/{self.config.steps} updates: training loss "
            f"{text(training.get('loss', float('nan')))}, validation loss {values['loss']:.4f}, "
            + "".join(f"{name} {values[name]:.4f}, " for name in self.task.metrics)
            + (f"{speed}, " if speed else "")
            + f"{self.recorder.seconds:.0f} s"
        )
        # An evaluation before the first update of this process decides nothing.
        if self.clock.ended and not math.isfinite(values["loss"]):
            self.problem = self.problem or "the validation loss is not finite"

    def checkpoint(self) -> None:
        """Saves the state, unless it has diverged or is that within an update."""
        if not self.problem and not self.guard.within:
            self.rng.restore()
            self.writer.save(self.model, self.step)

    def leave(self) -> NoReturn:
        """Ends a run that was asked to stop: a checkpoint, how to resume, the exit status."""
        self.rng.restore()
        # A checkpoint of this very step may be under way.
        self.writer.wait()
        step, steps = self.step, self.config.steps
        if self.guard.within:
            lost = lost_message(step, self.writer.last)
            how = f"within update {step + 1} of {steps}. {lost}"
        else:
            if self.writer.last != step:
                self.writer.save(self.model, step)
                self.writer.wait()
            how = f"after {step} of {steps} updates, with a checkpoint"
        received = self.stop.received
        self._say(
            f"Stopped by {received.name} {how}. "
            f"To resume: the same program with --resume {self.folder.path}"
        )
        raise Stopped(received)

    def finish(self) -> dict:
        """Writes the summary, the figure and the exported model; returns the summary."""
        config, folder = self.config, self.folder
        self.recorder.board.close()
        diverged = self.problem is not None
        if diverged:
            message = Text(
                divergence_message(self.problem, self.step, config.schedule, self.writer)
            )
            message.highlight_words(["Diverged"], "bold red")
            self._say(message)
        summary = self.recorder.summary(config, self.step, self.clock, diverged)
        ended = summary["finished"] and not diverged
        if ended and summary["first_step_at_peak_rate"] is None:
            why = below_peak_message(config)
            if why:
                self._say(why)
        if ended:
            with averaged_weights(self.model):
                self.task.export(self.model)
        write_json(folder.path / "summary.json", summary)
        plot_runs(
            {config.schedule: Curves.read(folder)},
            folder.path / "plot.png",
            baselines=self.task.baselines,
        )
        return summary

    def _say(self, message: str | Text) -> None:
        self.console.print(message, highlight=False, soft_wrap=True)
