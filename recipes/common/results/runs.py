"""A run read from its folder: what the report, the comparison and the figures show of it."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from recipes.common.command_line.errors import InputError
from recipes.common.files.reading import inside, open_file, read_json
from recipes.common.results.configuration import experiment
from recipes.common.results.csv_files import Columns, read_columns
from recipes.common.results.run_folder import RunFolder

# Bytes that a file may have that is read whole for a figure or a page.
CSV_LIMIT, JSON_LIMIT = 2**27, 2**24
# Characters of a sample of text that are read.
SAMPLE = 50_000
# What `LearningRateLogger` calls the columns of a recipe's metrics.csv.
_LOGGER = {"batch_loss": "loss", "learning_rate_factor": "factor"}


@dataclasses.dataclass(frozen=True)
class Curves:
    """What a run has measured.

    Args:
        metrics: Columns of `metrics.csv`, by name; empty before the first evaluation.
        evaluations: Columns of `evaluations.csv`, by name.
    """

    metrics: Columns
    evaluations: Columns

    @classmethod
    def read(cls, folder: RunFolder) -> "Curves":
        """Those of a run folder; empty columns where there is no row."""
        return cls(
            read_metrics(folder.path / "metrics.csv"),
            read_evaluations(folder.path / "evaluations.csv"),
        )

    @property
    def steps(self) -> int:
        """Updates so far."""
        table = self.metrics or self.evaluations
        return int(table["step"][-1]) if table else 0

    @property
    def full_rate_from(self) -> int | None:
        """The first update at which the loss no longer held the rate back."""
        if "factor" not in self.metrics:
            return None
        reached = np.flatnonzero(self.metrics["factor"] >= 1.0)
        return int(self.metrics["step"][reached[0]]) if len(reached) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Curves):
    """One training run: its curves, and all else that it has left behind.

    Args:
        path: Its folder, or its CSV file where there is no more than that.
        config: `config.json`, or empty.
        summary: `summary.json`, or empty while the run continues.
        probes: Curvature by file, each with columns `step`, `loss`, `curvature`.
        sample: Text that a language model has written.
    """

    path: Path
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    probes: dict[str, Columns] = dataclasses.field(default_factory=dict)
    sample: str = ""

    @property
    def name(self) -> str:
        """That of its folder or file."""
        return self.path.stem if self.path.suffix == ".csv" else self.path.name

    @property
    def experiment(self) -> str:
        """Equal for runs that differ in their seed alone."""
        if not self.config:
            return str(self.path)
        kept = {k: v for k, v in experiment(self.config).items() if k != "seed"}
        backend = self.environment.get("backend") or str(self.path.parent)
        return json.dumps([kept, backend], sort_keys=True)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions and hardware, where they were written down."""
        found = self.summary.get("environment")
        return found if isinstance(found, dict) else {}

    @property
    def final(self) -> dict[str, float | None]:
        """The last values, by name: `training loss`, `validation loss`, ...

        From `summary.json` where it has them, because it knows of divergence.
        """
        last = {k: float(v[-1]) for k, v in self.evaluations.items() if k not in _CLOCKS}
        if not last and self.metrics:
            last = {"loss": float(self.metrics["loss"][-1])}
        last = {k if k.startswith("validation_") else f"training_{k}": v for k, v in last.items()}
        told = {k: v for k, v in self.summary.items() if k.startswith("final_")}
        last |= {k.removeprefix("final_"): v for k, v in told.items()}
        return {name.replace("_", " "): value for name, value in last.items()}

    @property
    def seconds(self) -> float | None:
        """Training time so far, where it was written down."""
        value = self.summary.get("seconds")
        if value is None and "seconds" in self.metrics:
            value = float(self.metrics["seconds"][-1])
        return value if isinstance(value, int | float) and math.isfinite(value) else None


_CLOCKS = ("step", "seconds")


def read_run(folder: Path, probes: list[Path] = (), metrics: Path | None = None) -> Run:
    """All of a run folder that can be shown, whether the run is finished or not.

    Args:
        folder: The folder.
        probes: CSV files of `SmoothnessProbe` in it.
        metrics: What is read in the place of `metrics.csv`.

    Raises:
        InputError: If a file is damaged, has no row, or is a link that leads out of the folder.
    """
    own = metrics or folder / "metrics.csv", folder / "evaluations.csv"
    return Run(
        _with_rows(own[0], read_metrics(own[0])),
        _with_rows(own[1], read_evaluations(own[1])),
        path=folder,
        config=read_object(folder / "config.json"),
        summary=read_object(folder / "summary.json"),
        probes={path.stem: read_probe(path) for path in probes if path not in own},
        sample=_read_sample(folder / "sample.txt"),
    )


def read_metrics(path: Path) -> Columns:
    """A recipe's `metrics.csv` or a file of `LearningRateLogger`, under the recipe's names.

    Returns:
        Columns by name, the loss and the effective learning rate among them; no column if there
        is no row.
    """
    columns = _read(path, ("step", "learning_rate"))
    if "effective_learning_rate" in columns:
        # The logger's `learning_rate` is the base rate, as in Keras; the recipes' the effective.
        columns["base_learning_rate"] = columns.pop("learning_rate")
        columns["learning_rate"] = columns.pop("effective_learning_rate")
    columns = {_LOGGER.get(name, name): values for name, values in columns.items()}
    if columns and "loss" not in columns:
        raise InputError(f"The table is damaged (it has no column `loss`). Received: {path}")
    return columns


def read_evaluations(path: Path) -> Columns:
    """The columns of an `evaluations.csv`; no column if there is no row."""
    return _read(path, ("step",))


def read_probe(path: Path) -> Columns:
    """The columns of a file of `SmoothnessProbe`.

    Raises:
        InputError: If it is damaged or has no row.
    """
    return _with_rows(path, _read(path, ("step", "loss", "curvature")))


def _read(path: Path, required: tuple[str, ...]) -> Columns:
    if not os.path.lexists(path):
        return {}
    columns = read_columns(inside(path.parent, path.name), required, CSV_LIMIT)
    return columns if columns and len(columns["step"]) else {}


def _with_rows(path: Path, columns: Columns) -> Columns:
    if not columns and os.path.lexists(path):
        raise InputError(f"The table is damaged (it has no row). Received: {path}")
    return columns


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run; empty where there is no file."""
    if not os.path.lexists(path):
        return {}
    return read_json(inside(path.parent, path.name), JSON_LIMIT)


def _read_sample(path: Path) -> str:
    if not os.path.lexists(path):
        return ""
    with open_file(inside(path.parent, path.name)) as file:
        text = file.read(4 * SAMPLE + 1).decode("utf-8", "replace")
    if len(text) <= SAMPLE:
        return text
    return f"{text[:SAMPLE]}\n[The first {SAMPLE:,} characters; the rest is in {path.name}.]"
