"""From folders to what there is to show: runs, comparisons, probes, experiments.

Everything is told by its content, not by its name, so a folder may hold several kinds at once.
"""

import array
import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.files.reading import first_line, inside, open_file, read_bytes, read_json
from recipes.common.results.run_folder import NOT_THE_EXPERIMENT

Columns = dict[str, np.ndarray]

# Columns that hold words.
_TEXT = ("mode", "converged")
# What `LearningRateLogger` calls the columns of a recipe's metrics.csv.
_LOGGER = {"batch_loss": "loss", "learning_rate_factor": "factor"}
# A run's weights and event files: large, and nothing to read here.
_SKIPPED = ("checkpoints", "tensorboard")
_DEPTH = 4
# Bytes that such a file can have; a million updates take 80 MB.
_CSV_LIMIT, _JSON_LIMIT, _FIGURE_LIMIT = 2**27, 2**24, 2**23
_HEADER_LIMIT = 2**16
# Characters of a sample that the page shows.
_SAMPLE = 50_000


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
        kept = {k: v for k, v in self.config.items() if k not in {"seed", *NOT_THE_EXPERIMENT}}
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
    """All that was found in the folders.

    Args:
        folders: As they were named, resolved.
        runs: Training runs.
        studies: Folders of probes.
        tables: Tables of results.
        not_followed: Linked folders inside them that lead elsewhere.
    """

    folders: list[Path]
    runs: list[Run] = dataclasses.field(default_factory=list)
    studies: list[Study] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)
    not_followed: list[Path] = dataclasses.field(default_factory=list)

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
            raise MissingInputError(f"There is no such folder. Received: {given}")
        before = len(results)
        _walk(folder, folder, results, _DEPTH)
        if len(results) == before:
            links = ", ".join(str(path) for path in results.not_followed[:3])
            links = f" Links that lead out of it are not followed: {links}." if links else ""
            raise InputError(
                "There is no run in this folder: no config.json, metrics.csv, CSV file of a probe "
                f"or table of results, nor a folder with one.{links} Received: {given}"
            )
    # A folder named twice, or inside another one, is shown once.
    results.runs = list({run.path: run for run in results.runs}.values())
    results.studies = list({study.path: study for study in results.studies}.values())
    results.tables = list({table.path: table for table in results.tables}.values())
    return results


def _walk(root: Path, folder: Path, results: Results, depth: int) -> None:
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
            if not child.is_dir() or child.name.startswith(".") or child.name in _SKIPPED:
                continue
            if child.resolve().is_relative_to(root):
                _walk(root, child, results, depth - 1)
            else:
                results.not_followed.append(child)


def _read_run(folder: Path, probes: list[Path], loggers: list[Path]) -> Run:
    config, summary = _json(folder / "config.json"), _json(folder / "summary.json")
    whole = bool(summary)
    metrics, evaluations = folder / "metrics.csv", folder / "evaluations.csv"
    if not os.path.lexists(metrics) and loggers:
        metrics = loggers[0]
    sample = folder / "sample.txt"
    return Run(
        folder,
        config,
        summary,
        _metrics(metrics, whole) if os.path.lexists(metrics) else {},
        _columns(evaluations, ("step",), whole) if os.path.lexists(evaluations) else {},
        {path.stem: _probe(path) for path in probes if path not in (metrics, evaluations)},
        _sample(sample) if os.path.lexists(sample) else "",
    )


def _header(path: Path) -> list[str]:
    with open_file(inside(path.parent, path.name)) as file:
        line = file.readline(_HEADER_LIMIT).decode("utf-8", "replace")
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []  # Not one of ours; where its name says that it is, reading it says what is wrong.


def _sample(path: Path) -> str:
    with open_file(inside(path.parent, path.name)) as file:
        text = file.read(4 * _SAMPLE + 1).decode("utf-8", "replace")
    if len(text) <= _SAMPLE:
        return text
    return f"{text[:_SAMPLE]}\n[The first {_SAMPLE:,} characters; the rest is in {path.name}.]"


def _figure(path: Path) -> bytes:
    content = read_bytes(inside(path.parent, path.name), _FIGURE_LIMIT)
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise InputError(f"The file is not a PNG image. Received: {path}")
    return content


def _metrics(path: Path, whole: bool) -> Columns:
    columns = _columns(path, ("step", "learning_rate"), whole)
    if "effective_learning_rate" in columns:
        # The logger's `learning_rate` is the base rate, as in Keras; the recipes' the effective.
        columns["base_learning_rate"] = columns.pop("learning_rate")
        columns["learning_rate"] = columns.pop("effective_learning_rate")
    columns = {_LOGGER.get(name, name): values for name, values in columns.items()}
    if "loss" not in columns:
        raise InputError(f"The metrics have no column `loss`. Received: {path}")
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
    numbers: list[Any] = []
    header: list[str] = []
    with open_file(inside(path.parent, path.name), _CSV_LIMIT) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        try:
            reader = csv.reader(_lines(text, whole))
            header = next(reader, [])
            numbers = [[] if name in _TEXT else array.array("d") for name in header]
            for row in reader:
                _append(numbers, header, row, reader.line_num, path)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(
                f"The file is not a CSV file: {first_line(error)}. Received: {path}"
            ) from None
    missing = [name for name in required if name not in header]
    if missing or not numbers[0]:
        what = f"no column `{missing[0]}`" if header and missing else "no rows"
        raise InputError(f"The file is empty or corrupt, it has {what}. Received: {path}")
    if len(set(header)) != len(header):
        raise InputError(f"The file is corrupt: two columns share a name. Received: {path}")
    result = {name: np.array(values) for name, values in zip(header, numbers, strict=True)}
    if not np.isfinite(result["step"]).all():
        raise InputError(f"The file is corrupt: a step is not a number. Received: {path}")
    if (np.abs(result["step"]) > 2**53).any():
        raise InputError(f"The file is corrupt: a step is too large. Received: {path}")
    return result


def _lines(text, whole: bool):
    for line in text:
        # Only the last line can lack its newline.
        if whole or line.endswith(("\n", "\r")):
            yield line


def _append(numbers, header, row, line: int, path: Path) -> None:
    if len(row) != len(header):
        raise InputError(
            f"The file is corrupt: line {line} has {len(row)} values for {len(header)} "
            f"columns. Received: {path}"
        )
    for name, values, value in zip(header, numbers, row, strict=True):
        try:
            values.append(value if name in _TEXT else float(value or "nan"))
        except ValueError as error:
            raise InputError(
                f"The file is corrupt, column `{name}`: {error}. Received: {path}"
            ) from None


def _json(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        return {}
    return read_json(inside(path.parent, path.name), _JSON_LIMIT)


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
        raise InputError(f"The file holds no table of results. Received: {path}")
    figure = path.with_suffix(".png")
    drawn = kind == "experiment" and figure.exists()
    return Table(kind, path, rows, content, _figure(figure) if drawn else None)


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
