"""CSV files of a run: read as columns, rows added, rows dropped."""

import array
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.common.command_line.errors import InputError
from recipes.common.files.reading import first_line, open_file, read_bytes, regular_file
from recipes.common.files.writing import atomic, writing

Columns = dict[str, np.ndarray]

LIMIT = 2**30
"""Bytes that such a file can have; a million updates take 80 MB."""

HEADER_LIMIT = 2**16
"""Bytes that its first line can have."""

# Columns of `SmoothnessProbe`'s files that hold words.
_WORDS = ("mode", "converged")
# Larger integers are not exact in float64.
_LARGEST_STEP = 2**53


def read_header(path: Path) -> list[str]:
    """The names of the columns; empty if the first line is not one of a CSV file."""
    with open_file(path) as file:
        line = file.readline(HEADER_LIMIT).decode("utf-8", "replace")
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def read_columns(path: Path, required: Sequence[str] = (), limit: int = LIMIT) -> Columns:
    """The columns of a CSV file by name, as float64; an empty cell is NaN.

    A last line without its end is left out: it is being written at this moment, or was when the
    process was killed, and a number that was cut short may look like a smaller one.

    Args:
        path: The file.
        required: Columns that must be there.
        limit: Bytes that the file may have.

    Returns:
        Arrays of equal length, of length 0 if there is only a header; no column if the file has
        not a whole line.

    Raises:
        InputError: If it is not such a file; the message says what is wrong.
    """
    with open_file(path, limit) as file:
        try:
            reader = csv.reader(_whole_lines(file))
            header = next(reader, [])
            if header:
                _check_header(header, required)
            numbers = [[] if name in _WORDS else array.array("d") for name in header]
            for row in reader:
                _append(numbers, header, row, reader.line_num)
        except InputError:
            raise
        except (UnicodeDecodeError, csv.Error, ValueError) as error:
            raise InputError(
                f"The table is damaged ({first_line(error)}). Received: {path}"
            ) from None
    columns = {name: np.array(values) for name, values in zip(header, numbers, strict=True)}
    if len(columns.get("step", ())) and not (np.abs(columns["step"]) <= _LARGEST_STEP).all():
        raise InputError(f"The table is damaged (a step is no number). Received: {path}")
    return columns


def _whole_lines(file) -> Iterator[str]:
    """Lines by line feeds alone, as `keep_rows` counts them."""
    for line in file:
        if line.endswith(b"\n"):
            yield line.decode("utf-8")


def _check_header(header: Sequence[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise ValueError(f"it has no column `{missing[0]}`")
    if len(set(header)) < len(header):
        raise ValueError(f"two columns share a name: {','.join(header)}")


def _append(numbers: list, header: list[str], row: list[str], line: int) -> None:
    if len(row) != len(header):
        raise ValueError(f"line {line} has {len(row)} values for {len(header)} columns")
    for name, values, value in zip(header, numbers, row, strict=True):
        try:
            values.append(value if name in _WORDS else float(value or "nan"))
        except ValueError as error:
            raise ValueError(f"column `{name}`: {error}") from None


def rows_of(columns: Columns) -> list[dict[str, float]]:
    """The same as a list of rows."""
    values = [column.tolist() for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Adds rows, with a header if the file is new; they are on the disk when this returns."""
    new = not path.exists()
    with writing(path), path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)
        # Before a checkpoint that counts them as done.
        file.flush()
        os.fsync(file.fileno())


def keep_rows(path: Path, step: int) -> None:
    """Drops the rows after `step`, and a last line without its end; all of a file without a header.

    Raises:
        InputError: If the file is not text, or a row does not begin with its step.
    """
    content = read_bytes(path, LIMIT)
    try:
        header, *lines = content.decode("utf-8").rpartition("\n")[0].split("\n")
        kept = [line for line in lines if header and int(line.partition(",")[0]) <= step]
    except ValueError as error:
        raise InputError(f"The table is damaged ({error}). Received: {path}") from None
    if not header:
        path.unlink()
        return
    with atomic(path) as partial:
        partial.write_text("\n".join([header, *kept]) + "\n", "utf-8")


def first_cells(path: Path) -> list[bytes]:
    """The first cell of each whole row, unconverted; none where there is no file."""
    content = read_bytes(path, LIMIT) if path.exists() else b""
    return [line.partition(b",")[0] for line in content.split(b"\n")[1:-1]]


def header_line(path: Path) -> str | None:
    """The first line as it stands; `None` if there is no file or the line has no end."""
    if not path.exists():
        return None
    with regular_file(path).open("rb") as file:
        line = file.readline(HEADER_LIMIT)
    if len(line) < HEADER_LIMIT and not line.endswith(b"\n"):
        return None
    return line.decode("utf-8", "replace").rstrip("\r\n")
