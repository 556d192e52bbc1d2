"""Comparisons as a table: on the screen, as Markdown and as data."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recipes.common.files.writing import atomic


def text(value: Any) -> str:
    """How a cell reads: four digits after the point for losses, a dash for what there is not."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"
    return str(value)


def print_table(rows: Sequence[dict[str, Any]], console: Console, title: str = "") -> None:
    """Prints rows, all with the same keys; the keys are the header."""
    table = Table(title=title or None, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*map(text, row.values()))
    console.print(table)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The same rows as a Markdown table.

    Example:

    >>> print(markdown([{"schedule": "none", "loss": 1.5}]))
    | schedule | loss |
    |---|---|
    | none | 1.5000 |
    """
    lines = [list(rows[0]), *(map(text, row.values()) for row in rows)]
    header, *body = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([header, "|" + "---|" * len(rows[0]), *body])


def write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes `path` with the suffixes `.md`, to read, and `.csv`, with every digit."""
    with atomic(path.with_suffix(".md")) as partial:
        partial.write_text(markdown(rows) + "\n", "utf-8")
    with (
        atomic(path.with_suffix(".csv")) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
