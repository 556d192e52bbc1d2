"""Where the files of a data set may lie, and what to say when they do not."""

import os
from collections.abc import Iterable
from pathlib import Path

from recipes.common.command_line.errors import MissingInputError


def keras_datasets() -> Path:
    """The folder in which Keras keeps what it downloads: `$KERAS_HOME/datasets`."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home).expanduser() / "datasets"


def find_folder(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first of `folders` that holds a file of every name, plain or with `.gz`."""
    names = tuple(names)
    for folder in folders:
        if all(find_file(folder, name) for name in names):
            return folder
    return None


def find_file(folder: Path, name: str) -> Path | None:
    """`folder / name`, or the same with `.gz`, whichever is a file."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


class MissingData(MissingInputError):
    """Files of a data set were not found; the message says where to have them."""


def missing(
    title: str,
    searched: Iterable[Path],
    expected: str,
    where: Iterable[str],
    folder: str | None,
    reason: str = "",
) -> MissingData:
    """The error for a data set whose files are not there.

    Args:
        title: Its name.
        searched: Folders in which it was looked for.
        expected: The names of its files.
        where: Ways to get it, one sentence each.
        folder: What the user gave as `--data-dir`.
        reason: Why the download failed, if one was tried.
    """
    lines = [
        f"{title} was not found.",
        f"Its files are {expected}; they were looked for in:",
        *(f"  {path}" for path in searched),
        "To have it:",
        *(f"  - {way}" for way in where),
    ]
    if reason:
        lines.append(f"The download through Keras failed: {reason}.")
    return MissingData("\n".join([*lines, f"Received: data_dir={folder}"]))
