"""Builds one HTML page from any runs: `python -m recipes.report RUN ...`.

    python -m recipes.report runs/gpt-auto-20260101-120000
    python -m recipes.report runs/compare-gpt-20260101-120000 runs/theory --out page.html

A RUN is the folder of a run, of a comparison, of `recipes.theory` or `recipes.smoothness`, a
folder with a CSV file of `LearningRateLogger` or `SmoothnessProbe`, or a folder of such folders.
Folders come first, then the options. The page needs no network and no script: figures are SVG,
they follow the browser's light or dark setting, and it fits a phone.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.options import build, check_options, option, parse
from recipes.common.files.writing import atomic
from recipes.report.page import build_page
from recipes.report.reading import read

PROGRAM = "python -m recipes.report"


@dataclasses.dataclass
class Report:
    """Report: where it goes."""

    out: str = option("runs/report.html", "the page", kind="path")
    title: str | None = option(None, "its heading [default: the folders' names]")

    def __post_init__(self):
        check_options(self)


def report(folders: Sequence[str | Path], out: str | Path, title: str | None = None) -> Path:
    """Reads the folders and writes the page, whole or not at all.

    Args:
        folders: Folders with results, in the order in which they are shown.
        out: The page.
        title: Its heading; by default the folders' names.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: If a folder does not exist.
        ValueError: If there is nothing to show in it, or a file is empty or corrupt.
    """
    page = build_page(read([Path(folder) for folder in folders]), title)
    out = Path(out)
    if out.is_dir():
        raise ValueError(f"`out` must be a file. Received: out={out}")
    with atomic(out) as partial:
        partial.write_text(page, "utf-8")
    return out


def main(argv: Sequence[str] | None = None) -> Path:
    """The command line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    first = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    folders = argv[:first]
    given = parse([Report], argv[first:], program=f"{PROGRAM} RUN ...", description=__doc__)
    with one_line_errors(PROGRAM):
        if not folders:
            raise ValueError("Name one folder at least, before the options. Received: no folder")
        config = build(Report, given)
        path = report(folders, config.out, config.title)
    make_console().print(f"The page is {path}", highlight=False, soft_wrap=True)
    return path


if __name__ == "__main__":
    main()
