"""Runs one recipe with several schedules and compares them: `python -m recipes.compare`.

    python -m recipes.compare                             # the demo GPT: none, linear, auto
    python -m recipes.compare gpt --schedules none,h0h1 --seeds 0,1,2 --steps 200

The first word names the recipe, `gpt` if left out; its options are accepted too. Every schedule
has the same data, and for equal seeds the same initial weights and the same batches. Left behind:
a folder with a run folder for each, `comparison.png`, `comparison.md` and `.csv`,
`comparison.json`.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.options import build, parse
from recipes.common.command_line.settings import check_given
from recipes.common.distribution.distribute import several_hosts
from recipes.common.files.writing import write_json
from recipes.common.recipe import Recipe
from recipes.common.results.environment import describe_environment
from recipes.common.results.plots import plot_groups
from recipes.common.results.tables import print_table, write_table
from recipes.compare.config import Comparison
from recipes.compare.runs import Cases, Run, average, train_all
from recipes.compare.table import tabulate_cases, verdict
from recipes.registry import load_recipe

PROGRAM = "python -m recipes.compare"


def compare(
    recipe: Recipe, comparison: Comparison, config: Any, cases: Cases, console: Console
) -> list[dict[str, Any]]:
    """Runs everything, one after the other, and returns the rows of the table.

    Args:
        recipe: What is trained.
        comparison: Which schedules and seeds.
        config: The recipe's configuration; schedule, seed and place of each run are set here.
        cases: What else is compared.
        console: Where to print.
    """
    if several_hosts():
        raise ValueError(
            "A comparison runs on one host; on several, train each schedule by "
            f"`python -m recipes.{recipe.name}`. Received: KERAS_DISTRIBUTION_NUM_PROCESSES="
            + os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"]
        )
    seeds = recipe.seeds if comparison.seeds is None else comparison.seeds
    folder = Path(config.runs) / f"compare-{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    start = time.perf_counter()
    runs = list(train_all(recipe, config, cases, seeds, comparison.schedules, folder, console))
    rows, targets = tabulate_cases(runs, cases, comparison.target)
    seconds = time.perf_counter() - start
    draw(recipe, runs, folder / "comparison.png")
    write_table(rows, folder / "comparison")
    write(runs, rows, cases, targets, seconds, folder / "comparison.json")
    console.rule()
    print_table(rows, console)
    for name, value in runs[0].summary["baselines"].items():
        console.print(f"Validation loss of the {name} model: {value:.4f}", highlight=False)
    for case in cases.values:
        about = [row for row in rows if not case or row[cases.option] == case]
        console.print(verdict(about, case, len(seeds)), highlight=False, soft_wrap=True)
    console.print(
        f"{seconds:.0f} s in all. Figure, table and runs are in {folder}",
        highlight=False,
        soft_wrap=True,
    )
    return rows


def draw(recipe: Recipe, runs: Sequence[Run], path: Path) -> None:
    """The figure: for each case a row of charts, with the mean over the seeds of each schedule."""
    seeds = len({run.seed for run in runs})
    rates = dict.fromkeys(f"{run.summary['peak_lr']:g}" for run in runs)
    groups: dict[str, dict[str, list]] = {}
    for run in runs:
        groups.setdefault(run.case, {}).setdefault(run.schedule, []).append(run.curves)
    plot_groups(
        {
            case: {schedule: average(curves) for schedule, curves in schedules.items()}
            for case, schedules in groups.items()
        },
        path,
        baselines=runs[0].summary["baselines"],
        title=f"{recipe.name}, {keras.backend.backend()}, "
        + ("one seed" if seeds == 1 else f"mean of {seeds} seeds")
        + f", peak rate {' and '.join(rates)}",
    )


def write(
    runs: Sequence[Run],
    rows: list[dict[str, Any]],
    cases: Cases,
    targets: dict[str, float],
    seconds: float,
    path: Path,
) -> None:
    """The whole comparison as JSON, with the command that made it."""
    write_json(
        path,
        {
            "command": " ".join([PROGRAM, *sys.argv[1:]]),
            "seconds": round(seconds, 1),
            "target": targets if cases.option else targets[""],
            "baselines": runs[0].summary["baselines"],
            "data": runs[0].summary["data"],
            "environment": describe_environment(),
            "rows": rows,
            "runs": [cases.label(run.case) | run.summary for run in runs],
        },
    )


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The command line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors(PROGRAM):
        name = argv.pop(0) if argv and not argv[0].startswith("-") else "gpt"
        recipe = load_recipe(name)
        given = parse(
            [Comparison, recipe.config],
            argv,
            program=f"{PROGRAM} {name}",
            description=__doc__,
            exclude=recipe.single_run_options,
        )
        check_given(given, comparison=True)
        config = build(recipe.config, given)
        cases = Cases.of(recipe, given)
        return compare(recipe, build(Comparison, given), config, cases, make_console())


if __name__ == "__main__":
    main()
