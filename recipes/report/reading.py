"""From folders to what there is to show: runs, comparisons, probes, experiments.

Everything is told by its content, not by its name, so a folder may hold several kinds at once.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.files.reading import inside, read_bytes
from recipes.common.results.csv_files import Columns, read_header
from recipes.common.results.runs import Run, read_metrics, read_object, read_probe, read_run

# A run's weights and event files: large, and nothing to read here.
_SKIPPED = ("checkpoints", "tensorboard")
_DEPTH = 4
# Bytes that a figure can have.
_FIGURE_LIMIT = 2**23


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
    files = sorted(folder.glob("*.csv"))
    headers = {path: set(read_header(inside(folder, path.name))) for path in files}
    probes = [p for p, names in headers.items() if {"step", "loss", "curvature"} <= names]
    logged = {"step", "batch_loss", "learning_rate"}
    loggers = [path for path, names in headers.items() if logged <= names]
    if any((folder / n).exists() for n in ("config.json", "metrics.csv", "evaluations.csv")):
        own = os.path.lexists(folder / "metrics.csv") or not loggers
        results.runs.append(read_run(folder, probes, None if own else loggers[0]))
        return
    for path in loggers:
        if metrics := read_metrics(path):
            results.runs.append(Run(metrics, {}, path=path))
    if probes:
        results.studies.append(Study(folder, {path.stem: read_probe(path) for path in probes}))
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


def _figure(path: Path) -> bytes:
    content = read_bytes(inside(path.parent, path.name), _FIGURE_LIMIT)
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise InputError(f"The file is not a PNG image. Received: {path}")
    return content


def _table(path: Path) -> Table | None:
    content = read_object(path)
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
