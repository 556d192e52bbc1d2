"""A recipe is a configuration and a function; this is what turns it into a program."""

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.options import build, parse
from recipes.common.command_line.settings import SINGLE_RUN_OPTIONS, check_given
from recipes.common.distribution.devices import Devices
from recipes.common.distribution.distribute import Layout, distribute
from recipes.common.results.run_folder import RunFolder
from recipes.common.training.experiment import Experiment
from recipes.common.training.signals import noted_interrupts


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A program that trains something.

    Args:
        name: As in `python -m recipes.NAME`.
        config: Its dataclass, a subclass of `recipes.common.command_line.settings.Training`.
        experiment: What trains a model of a configuration in a run folder.
        description: Printed above the options by `--help`.
        compared: An option and those of its values that `recipes.compare` compares if the option
            is not given, such as `("model", ("resnet8", "vit-micro"))`; none by default.
        seeds: What `recipes.compare` takes by default.
        not_compared: Names of its own options that `recipes.compare` does not offer, besides
            those of every recipe (`SINGLE_RUN_OPTIONS`).
        layout: How `--distribute model` cuts the weights; see `common/distribution`.
        preview: What `--dry-run` does instead of training, from a configuration, a console and
            the devices; for a recipe that has this option.
    """

    name: str
    config: type
    experiment: type[Experiment]
    description: str
    compared: tuple[str, tuple[str, ...]] | None = None
    seeds: tuple[int, ...] = (0,)
    not_compared: tuple[str, ...] = ()
    layout: Layout | None = None
    preview: Callable[[Any, Console, Devices], dict] | None = None

    @property
    def single_run_options(self) -> tuple[str, ...]:
        """Options that belong to a single run, and so not to a comparison of several."""
        return (*SINGLE_RUN_OPTIONS, *self.not_compared)

    def run(
        self, config: Any, console: Console, label: str | None = None
    ) -> tuple[dict, RunFolder | None]:
        """Trains in a folder of its own, new or that of `config.resume`; none for a dry run."""
        places = config.distribute, config.model_shards, self.layout
        if getattr(config, "target", None):
            places = ("none",)  # The dry run takes the target's devices, and none of this machine.
        with distribute(*places) as devices:
            if devices.host == 0:
                devices.barrier("run folders")
                return self._run(config, console, label, devices)
            # Host 0 writes the run folder; the others write to a temporary one.
            console.quiet = True
            with tempfile.TemporaryDirectory(prefix="keras-h0h1-host-") as runs:
                config = dataclasses.replace(config, runs=runs)
                if config.resume:
                    resumed = shutil.copytree(config.resume, Path(runs) / "resumed")
                    config = dataclasses.replace(config, resume=str(resumed))
                devices.barrier("run folders")
                return self._run(config, console, label, devices)

    def _run(self, config, console, label, devices):
        if getattr(config, "dry_run", False):
            keras.config.set_dtype_policy(config.precision)
            return self.preview(config, console, devices), None
        if config.resume:
            folder = RunFolder(config.resume)
        else:
            default = f"{self.name}-{label or config.schedule}"
            folder = RunFolder.create(config.runs, config.name, default)
        with folder.lock(new=not config.resume):
            # Weights, dropout and Python's own generators; the data has a seed by step.
            keras.utils.set_random_seed(config.seed)
            keras.config.set_dtype_policy(config.precision)
            return self.experiment(config, folder, console, devices).run(), folder

    def main(self, argv: Sequence[str] | None = None) -> dict:
        """The command line. Errors of the user's making end with one line and status 2."""
        program = f"python -m recipes.{self.name}"
        given = parse([self.config], argv, program=program, description=self.description)
        console = make_console()
        with one_line_errors(program):
            check_given(given)
            if "resume" in given:
                folder = RunFolder(given["resume"])
                config = folder.read_config(self.config, given)
            else:
                config = build(self.config, given)
            try:
                with noted_interrupts():
                    summary, folder = self.run(config, console)
            except KeyboardInterrupt:
                # Once training runs, `run_training` stops with a checkpoint instead.
                console.print("Stopped before training began.")
                sys.exit(130)
        if folder:
            console.print(f"Everything is in {folder.path}", highlight=False, soft_wrap=True)
        return summary
