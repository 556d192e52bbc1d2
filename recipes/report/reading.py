"""From folders to what there is to show: runs, comparisons, probes, experiments.

Everything is told by its content, not by its name, so a folder may hold several kinds at once.
"""

import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Columns = dict[str, np.ndarray]

# Columns that hold words.
_TEXT = ("mode", "converged")
# What `LearningRateLogger` calls the columns of a recipe's metrics.csv.
_LOGGER = {"batch_loss": "loss", "learning_rate_factor": "factor"}
# A run's weights and event files: large, and nothing to read here.
_SKIPPED = ("checkpoints", "tensorboard")
_DEPTH = 4
# What a run is called, where it goes and how it is stopped does not make it another experiment.
_NOT_THE_EXPERIMENT = ("seed", "name", "runs", "resume", "stop_after")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Args:
        path: Its folder, or its CSV file where there is no more than that.
        config: `config.json`, or empty.
        summary: `summary.json`, or empty while the run goes on.
        metrics: Columns of `metrics.csv`, by name; empty before the first evaluation.
        evaluations: Columns of `evaluations.csv`.
        probes: Curvature by file, each with columns `step`, `loss`, `curvature`.
        sample: Text that a language model has written.
    """

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    metrics: Columns
    evaluations: Columns
    probes: dict[str, Columns]
    sample: str

    @property
    def name(self) -> str:
        return self.path.stem if self.path.suffix == ".csv" else self.path.name

    @property
    def experiment(self) -> str:
        """Equal for runs that differ in their seed alone."""
        if not self.config:
            return str(self.path)
        kept = {k: v for k, v in self.config.items() if k not in _NOT_THE_EXPERIMENT}
        backend = self.environment.get("backend") or str(self.path.parent)
        return json.dumps([kept, backend], sort_keys=True)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions and hardware, where they were written down."""
        found = self.summary.get("environment")
        return found if isinstance(found, dict) else {}


@dataclasses.dataclass(frozen=True)
class Study:
    """Curvature of several cases, by case: a folder of probes' CSV files."""

    path: Path
    cases: dict[str, Columns]

    @property
    def name(self) -> str:
        return self.path.name.replace("_", " ")


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows with what was found: a comparison, the fits of a study, a theory experiment.

    Args:
        kind: `"comparison"`, `"fits"` or `"experiment"`.
        path: The file.
        rows: All with the same keys.
        content: The whole file.
        figure: The PNG beside it, where the page cannot draw the data itself.
    """

    kind: str
    path: Path
    rows: list[dict[str, Any]]
    content: dict[str, Any]
    figure: bytes | None = None


@dataclasses.dataclass
class Results:
    """All that was found in the folders."""

    folders: list[Path]
    runs: list[Run] = dataclasses.field(default_factory=list)
    studies: list[Study] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.runs) + len(self.studies) + len(self.tables)


def read(folders: Sequence[Path]) -> Results:
    """Reads everything in the folders and in those inside them.

    Raises:
        FileNotFoundError: If a folder does not exist.
        ValueError: If there is nothing to show in it, or a file is empty or corrupt.
    """
    results = Results([Path(folder).resolve() for folder in folders])
    for given, folder in zip(folders, results.folders, strict=True):
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no such folder. Received: {given}")
        before = len(results)
        _walk(folder, results, _DEPTH)
        if len(results) == before:
            raise ValueError(
                "There is no run in this folder: no config.json, metrics.csv, CSV file of a probe "
                f"or table of results, nor a folder with one. Received: {given}"
            )
    # A folder named twice, or inside another one, is shown once.
    results.runs = list({run.path: run for run in results.runs}.values())
    results.studies = list({study.path: study for study in results.studies}.values())
    results.tables = list({table.path: table for table in results.tables}.values())
    return results


def _walk(folder: Path, results: Results, depth: int) -> None:
    headers = {path: _header(path) for path in sorted(folder.glob("*.csv"))}
    probes = {p: h for p, h in headers.items() if {"step", "loss", "curvature"} <= set(h)}
    loggers = [p for p, h in headers.items() if {"step", "batch_loss", "learning_rate"} <= set(h)]
    if any((folder / n).exists() for n in ("config.json", "metrics.csv", "evaluations.csv")):
        results.runs.append(_read_run(folder, list(probes), loggers))
        return
    for path in loggers:
        results.runs.append(Run(path, {}, {}, _metrics(path, True), {}, {}, ""))
    if probes:
        cases = {path.stem: _probe(path) for path in probes}
        results.studies.append(Study(folder, cases))
    for path in sorted(folder.glob("*.json")):
        table = _table(path)
        if table:
            results.tables.append(table)
    if depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith(".") and child.name not in _SKIPPED:
                _walk(child, results, depth - 1)


def _read_run(folder: Path, probes: list[Path], loggers: list[Path]) -> Run:
    config, summary = _json(folder / "config.json"), _json(folder / "summary.json")
    whole = bool(summary)
    metrics, evaluations = folder / "metrics.csv", folder / "evaluations.csv"
    if not metrics.exists() and loggers:
        metrics = loggers[0]
    sample = folder / "sample.txt"
    return Run(
        folder,
        config,
        summary,
        _metrics(metrics, whole) if metrics.exists() else {},
        _columns(evaluations, ("step",), whole) if evaluations.exists() else {},
        {path.stem: _probe(path) for path in probes if path not in (metrics, evaluations)},
        sample.read_text("utf-8", "replace") if sample.exists() else "",
    )


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return next(csv.reader([file.readline()]), [])


def _metrics(path: Path, whole: bool) -> Columns:
    columns = _columns(path, ("step", "learning_rate"), whole)
    if "effective_learning_rate" in columns:
        # The logger's `learning_rate` is the base rate, as in Keras; the recipes' the effective.
        columns["base_learning_rate"] = columns.pop("learning_rate")
        columns["learning_rate"] = columns.pop("effective_learning_rate")
    columns = {_LOGGER.get(name, name): values for name, values in columns.items()}
    if "loss" not in columns:
        raise ValueError(f"The metrics have no column `loss`. Received: {path}")
    return columns


def _probe(path: Path) -> Columns:
    return _columns(path, ("step", "loss", "curvature"), whole=False)


def _columns(path: Path, required: Sequence[str], whole: bool) -> Columns:
    """The columns of a CSV file.

    Args:
        path: The file.
        required: Columns that must be there.
        whole: Whether the writer has ended. If not, a last line without its newline is one that
            is being written at this moment, and is left out.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        lines = text.splitlines(keepends=True)
        if lines and not whole and not lines[-1].endswith(("\n", "\r")):
            lines.pop()
        header, *rows = csv.reader(lines) if lines else [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"The file is not a CSV file: {error}. Received: {path}") from None
    missing = [name for name in required if name not in header]
    if missing or not rows:
        what = f"no column `{missing[0]}`" if header and missing else "no rows"
        raise ValueError(f"The file is empty or corrupt, it has {what}. Received: {path}")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(
                f"The file is corrupt: line {number} has {len(row)} values for {len(header)} "
                f"columns. Received: {path}"
            )
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    result = {}
    for name, values in columns.items():
        if name in _TEXT:
            result[name] = np.array(values)
            continue
        try:
            result[name] = np.array([float(value or "nan") for value in values])
        except ValueError as error:
            raise ValueError(
                f"The file is corrupt, column `{name}`: {error}. Received: {path}"
            ) from None
    if not np.isfinite(result["step"]).all():
        raise ValueError(f"The file is corrupt: a step is not a number. Received: {path}")
    return result


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"The file is not JSON: {error}. Received: {path}") from None
    if not isinstance(value, dict):
        raise ValueError(f"The file holds no JSON object. Received: {path}")
    return value


def _table(path: Path) -> Table | None:
    content = _json(path)
    if "fits" in content:
        kind, rows = "fits", content["fits"]
    elif "rows" in content:
        kind, rows = ("comparison" if "runs" in content else "experiment"), content["rows"]
    else:
        return None
    sound = isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    if not sound or any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError(f"The file holds no table of results. Received: {path}")
    figure = path.with_suffix(".png")
    drawn = kind == "experiment" and figure.exists()
    return Table(kind, path, rows, content, figure.read_bytes() if drawn else None)


def final(run: Run) -> dict[str, float | None]:
    """The last values of a run, by name: `training loss`, `validation loss`, ...

    From `summary.json` where it has them, because it knows of divergence.
    """
    last = {k: float(v[-1]) for k, v in run.evaluations.items() if k not in ("step", "seconds")}
    if not last and run.metrics:
        last = {"loss": float(run.metrics["loss"][-1])}
    last = {k if k.startswith("validation_") else f"training_{k}": v for k, v in last.items()}
    told = {k.removeprefix("final_"): v for k, v in run.summary.items() if k.startswith("final_")}
    return {name.replace("_", " "): value for name, value in (last | told).items()}


def full_rate_from(run: Run) -> int | None:
    """The first update at which the loss no longer held the rate back."""
    if "factor" not in run.metrics:
        return None
    reached = np.flatnonzero(run.metrics["factor"] >= 1.0)
    return int(run.metrics["step"][reached[0]]) if len(reached) else None


def steps(run: Run) -> int:
    """Updates so far."""
    table = run.metrics or run.evaluations
    return int(table["step"][-1]) if table else 0


def seconds(run: Run) -> float | None:
    """Training time so far, where it was written down."""
    value = run.summary.get("seconds")
    if value is None and "seconds" in run.metrics:
        value = float(run.metrics["seconds"][-1])
    return value if isinstance(value, int | float) and math.isfinite(value) else None
