"""Runs the theory's experiments: one figure and one table each, in a few minutes on a CPU.

    python -m recipes.theory                       # all of them, in runs/theory
    python -m recipes.theory --quick               # the same, smaller, under a minute
    python -m recipes.theory --only separation,bounds

Left behind: for each experiment NAME.png, NAME.md, NAME.csv (the table) and NAME.json (findings
and data), and `summary.json` with versions and times.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.options import build, parse
from recipes.common.files.writing import atomic, make_folder, write_json
from recipes.common.results.environment import describe_environment
from recipes.common.results.tables import print_table, write_table
from recipes.theory.config import EXPERIMENTS, Theory
from recipes.theory.experiment import Experiment, Result

PROGRAM = "python -m recipes.theory"


def use_float64() -> None:
    """Double precision on every backend, as the theory's counts of steps need it."""
    keras.config.set_floatx("float64")
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)


def save(experiment: Experiment, result: Result, folder: Path) -> None:
    """Writes figure, table and data."""
    figure = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    figure.suptitle(experiment.title, fontsize=12)
    result.draw(figure)
    with atomic(folder / f"{experiment.name}.png") as partial:
        figure.savefig(partial)
    write_table(result.rows, folder / experiment.name)
    data = {"findings": result.findings, "rows": result.rows, **result.data}
    write_json(folder / f"{experiment.name}.json", data)


def run(config: Theory, console: Console) -> dict:
    """Runs the experiments of `config` and returns `{name: findings}`."""
    use_float64()
    folder = make_folder(Path(config.out))
    chosen = [EXPERIMENTS[name] for name in config.only or EXPERIMENTS]
    findings, seconds = {}, {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    for experiment in chosen:
        began = time.perf_counter()
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(experiment.name, total=experiment.ticks[not config.quick])
            result = experiment.run(config.quick, lambda: progress.advance(task))  # noqa: B023
        save(experiment, result, folder)
        seconds[experiment.name] = round(time.perf_counter() - began, 2)
        findings[experiment.name] = result.findings
        print_table(result.rows, console, experiment.title)
        for line in result.findings:
            console.print(f"  {line}", highlight=False)
        console.print()
    summary = {
        "command": " ".join([PROGRAM, *sys.argv[1:]]),
        "quick": config.quick,
        "seconds": seconds,
        "findings": findings,
        "environment": describe_environment(),
    }
    write_json(folder / "summary.json", summary)
    console.print(f"Figures, tables and data: {folder} ({sum(seconds.values()):.0f} s)")
    return findings


def main(argv: Sequence[str] | None = None) -> dict:
    """The command line."""
    given = parse([Theory], argv, program=PROGRAM, description=__doc__)
    with one_line_errors(PROGRAM):
        return run(build(Theory, given), make_console())
