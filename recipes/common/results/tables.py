"""Comparisons as a table: on the screen, as Markdown and as data."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recipes.common.files.writing import atomic
from recipes.common.results.formatting import largest, text


def print_table(rows: Sequence[dict[str, Any]], console: Console, title: str = "") -> None:
    """Prints rows, all with the same keys; the keys are the header."""
    table = Table(title=title or None, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for cells in _cells(rows):
        table.add_row(*cells)
    console.print(table)


def _cells(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """What the cells of each row read, with as many digits in all numbers of a column."""
    sizes = {name: largest([row[name] for row in rows]) for name in rows[0]}
    return [[text(value, sizes[name]) for name, value in row.items()] for row in rows]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The same rows as a Markdown table.

    Example:

    >>> print(markdown([{"schedule": "none", "loss": 1.5}]))
    | schedule | loss |
    |---|---|
    | none | 1.5000 |
    """
    lines = [list(rows[0]), *_cells(rows)]
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
