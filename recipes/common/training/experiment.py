"""One run of a recipe, from its options to its last message: the part that all recipes share."""

import abc
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.command_line.settings import Training
from recipes.common.distribution.devices import Devices
from recipes.common.files.writing import atomic
from recipes.common.results.run_folder import RunFolder
from recipes.common.training.loop import run_training
from recipes.common.training.task import Task


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file, whole or not at all."""
    with atomic(path) as partial:
        model.save(partial)


class Experiment(abc.ABC):
    """Trains one model in a run folder, new or resumed.

    A subclass says how the data is read, how the configuration is completed by it, and how the
    model is made. `run` calls these methods in a fixed order.

    Args:
        config: The options as given; `run` replaces them by the resolved configuration.
        folder: The run folder.
        console: Where to print.
        devices: What the run trains on.

    Attributes:
        data: What `load_data` returned.
    """

    data: Any

    def __init__(self, config: Training, folder: RunFolder, console: Console, devices: Devices):
        self.config = config
        self.folder = folder
        self.console = console
        self.devices = devices

    @abc.abstractmethod
    def load_data(self) -> Any:
        """The data that `self.config` names; its `source` says which data, in one line."""

    @abc.abstractmethod
    def resolve(self) -> Training:
        """The configuration with nothing left open; what is resolved already stays as it is."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A digest of the data. A resumed run has to meet the one that it began with."""

    @abc.abstractmethod
    def task(self) -> Task:
        """Batches, held-out examples and names for the training loop."""

    def before_model(self) -> None:  # noqa: B027 (most recipes need nothing here)
        """Called before a model is built or loaded, for what Keras asks only then."""

    @abc.abstractmethod
    def build_model(self) -> keras.Model:
        """The compiled model of a new run."""

    def load_model(self, checkpoint: Path) -> keras.Model:
        """The compiled model of a resumed run."""
        return load_checkpoint(checkpoint)

    def export(self, model: keras.Model) -> None:
        """Writes the finished model for others; its weights are those that were evaluated.

        Called on every host.
        """
        save_model(self.devices.unshard(model), self.folder.path / "model.keras")

    @abc.abstractmethod
    def introduction(self) -> str:
        """What is printed before training: data, model, run, baselines; see `describe_run`."""

    @abc.abstractmethod
    def report(self, model: keras.Model, summary: dict) -> None:
        """Prints the result, and writes what the recipe leaves behind besides."""

    def run(self) -> dict:
        """Trains and returns the summary, as in `summary.json`."""
        self.data = self.load_data()
        self.config = self.resolve()
        self.folder.check_data(self.data.source, self.fingerprint())
        if not self.folder.config_path.exists():
            self.folder.write_config(self.config)
        task = self.task()
        self.before_model()
        checkpoint = self.folder.latest_checkpoint()
        model = self.load_model(checkpoint[0]) if checkpoint else self.build_model()
        self.say(self.introduction())
        summary = run_training(model, task, self.config, self.folder, self.console, self.devices)
        self.report(model, summary)
        return summary

    def say(self, text: str) -> None:
        """Prints text as it is, in lines that are not cut."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def describe_model(self, name: str, parameters: int) -> str:
        """A line about the model and where it runs."""
        return (
            f"Model: {name}, {parameters:,} parameters, on {keras.backend.backend()}, "
            f"{self.config.precision}, {self.devices}"
        )

    def describe_run(self, update: str, detail: str = "") -> str:
        """A line about length and learning rate.

        Args:
            update: What one update takes, such as `"64 images"`.
            detail: Inserted after the number of epochs.
        """
        config = self.config
        named = []
        if config.schedule == "h0h1":
            named.append(f"C = {config.C:.3g}")
        if config.schedule in ("h0h1", "auto") and config.f_star:
            named.append(f"f* = {config.f_star:.3g}")
        constants = f" with {', '.join(named)}" if named else ""
        return (
            f"Run: {config.steps} updates of {update} ({config.epochs:.2f} epochs){detail}, "
            f"schedule {config.schedule}{constants}, peak {config.peak_lr:g}"
        )
