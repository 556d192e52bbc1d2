"""Whether a run folder can be resumed: each check returns, or says what is damaged or missing."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.common.checkpoints.folder import CheckpointFolder
from recipes.common.command_line.errors import InputError
from recipes.common.results.csv_files import first_cells, header_line, read_columns

# Files that are written at the end.
_RESULTS = ("model.keras", "summary.json", "plot.png", "sample.txt")

# What people and programs call their checkpoints; `model.keras` is none.
_CHECKPOINT = re.compile(
    r"(step|checkpoint|ckpt|epoch|latest|last)s?[-_.]?[0-9]*\.(npz|keras|h5|weights\.h5|index)",
    re.IGNORECASE,
)


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Makes sure that a CSV file has these columns and no other, if it has a whole line.

    Raises:
        InputError: If it has others.
    """
    header = header_line(path)
    if header is not None and header != ",".join(columns):
        raise InputError(
            f"The table should have the columns {','.join(columns)}. Put an intact copy in "
            f"its place, or start a new run. Received: {header:.300} in {path}"
        )


def check_updates(path: Path, step: int) -> None:
    """Makes sure that `metrics.csv` has each update up to `step` once."""
    steps = first_cells(path)
    expected = [str(number).encode() for number in range(1, step + 1)]
    if steps[:step] != expected or not set(expected).isdisjoint(steps[step:]):
        raise InputError(
            f"The table should have one row for each of {step} updates, and rows are missing "
            f"or doubled. Put an intact copy in its place, or start a new run. Received: {path}"
        )


def check_evaluations(path: Path, step: int, every: int) -> None:
    """Makes sure that `evaluations.csv` has each evaluation before `step` once, in order."""
    columns = read_columns(path, ("step",)) if path.exists() else {}
    steps = [n for n in columns["step"].tolist() if n <= step] if columns else []
    # That at `step` itself is made up for where a signal came in between.
    missing = set(range(0, step, every)).difference(steps)
    if missing or steps != sorted(set(steps)):
        raise InputError(
            f"The table should have the evaluations of every {every} updates before update "
            f"{step}, each once and in order. Put an intact copy in its place, or start a new "
            f"run. Received: {path}"
        )


def check_places(folder: Path) -> None:
    """Makes sure that what is written at the end can be, before the work is done."""
    for name in _RESULTS:
        if (folder / name).is_dir():
            raise InputError(
                f"There is a folder where a file is needed; move it away. Received: {folder / name}"
            )
    for name in ("tensorboard", "preset"):
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            raise InputError(
                f"There is a file where a folder is needed; move it away. Received: {folder / name}"
            )


def check_no_checkpoint_lost(
    folder: Path, checkpoints: CheckpointFolder, stored: Any, made: int
) -> None:
    """Makes sure that a run without checkpoints has lost none, since it starts again.

    Args:
        folder: The run's.
        checkpoints: Those in it.
        stored: The run's configuration.
        made: Updates that `metrics.csv` has rows of.
    """
    if checkpoints.steps():
        return
    others = other_checkpoints(folder, checkpoints)
    if others:
        raise InputError(
            f"The run has no checkpoint in {checkpoints.path}, but others "
            f"({_some(others)}), perhaps of an older layout, which cannot be resumed. Put "
            "those of this version in their place, or start a new run. "
            f"Received: {folder}"
        )
    # The rows are written first, and each checkpoint waits for the one before it.
    every = stored.checkpoint_every or stored.eval_every
    if every and made > 2 * every:
        raise InputError(
            f"The run has made {made} updates with a checkpoint every {every}, and there is "
            "none. Put the checkpoints back in their place, or start a new run. "
            f"Received: {checkpoints.path}"
        )


def other_checkpoints(folder: Path, checkpoints: CheckpointFolder) -> list[str]:
    """What looks like a checkpoint and is none of those that a run is resumed from.

    Such as those of an older layout, wherever in the folder. Runs inside the folder have
    their own.

    Returns:
        Paths below the folder, sorted.
    """
    found = []
    for root, folders, files in os.walk(folder):
        # In place, so that these are not entered.
        folders[:] = [
            name
            for name in folders
            if name != "tensorboard" and not Path(root, name, "config.json").exists()
        ]
        for name in (*folders, *files):
            path = Path(root, name)
            ours = path.parent == checkpoints.path and checkpoints.owns(name)
            if _CHECKPOINT.fullmatch(name) and not ours:
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def _some(names: list[str], most: int = 5) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
