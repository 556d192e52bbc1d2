"""Runs one recipe with several schedules and compares them: `python -m recipes.compare`.

    python -m recipes.compare                             # the demo GPT: none, linear, h0h1
    python -m recipes.compare gpt --schedules none,h0h1 --seeds 0,1,2 --steps 200

The first word names the recipe, `gpt` if left out; its options are accepted too. Every schedule
has the same data, and for equal seeds the same initial weights and the same batches. Left behind:
a folder with a run folder for each, `comparison.png`, `comparison.md` and `.csv`,
`comparison.json`.
"""

import dataclasses
import importlib
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import keras
import numpy as np
from rich.console import Console

from keras_h0h1.validation import check_choice
from recipes.common.console import make_console, one_line_errors
from recipes.common.distribute import several_hosts
from recipes.common.environment import describe_environment
from recipes.common.errors import InputError
from recipes.common.files import write_json
from recipes.common.options import build, check_options, option, parse
from recipes.common.plots import Curves, plot_groups
from recipes.common.recipe import Recipe
from recipes.common.settings import (
    ALL_SCHEDULES,
    LARGEST_LOSS,
    LARGEST_SEED,
    SCHEDULES,
    check_given,
)
from recipes.common.tables import print_table, write_table

RECIPES = {"gpt": "recipes.gpt", "vision": "recipes.vision.recipe"}  # modules with a `RECIPE`
# What belongs to a single run.
_EXCLUDED = (
    "schedule", "seed", "resume", "stop_after", "suggest", "name",
    "dry_run", "hardware", "utilisation", "price",
)  # fmt: skip


@dataclasses.dataclass
class Comparison:
    """Comparison: which runs."""

    schedules: tuple[Literal[ALL_SCHEDULES], ...] = option(SCHEDULES, "the schedules to compare")
    seeds: tuple[int, ...] | None = option(
        None,
        "one run for each; 0 alone is a demonstration, a claim needs three or more [default: gpt 0,"
        " vision 0,1,2]",
        low=0,
        high=LARGEST_SEED,
    )
    target: float | None = option(
        None,
        "validation loss that the updates are counted to [default: the worst of the final losses,"
        " which every run that did not diverge has reached]",
        low=-LARGEST_LOSS,
        high=LARGEST_LOSS,
    )

    def __post_init__(self):
        check_options(self)
        if not self.schedules:
            raise InputError("`schedules` must name one at least. Received: schedules=none")


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run of the comparison.

    Args:
        schedule: Its schedule.
        seed: Its seed.
        summary: As in `summary.json`.
        curves: To draw.
        case: Which of several models, where a comparison has them.
    """

    schedule: str
    seed: int
    summary: dict
    curves: Curves
    case: str = ""


def load_recipe(name: str) -> Recipe:
    """The recipe of that name."""
    check_choice("recipe", name, tuple(RECIPES))
    return importlib.import_module(RECIPES[name]).RECIPE


def steps_to(curves: Curves, target: float) -> float:
    """Updates until the validation loss is at `target`, straight lines between evaluations.

    NaN if it never is.

    Example:

    >>> curves = Curves({}, {"step": np.array([0, 10, 20]),
    ...                      "validation_loss": np.array([7.0, 5.0, 4.0])})
    >>> steps_to(curves, 6.0), steps_to(curves, 4.0), steps_to(curves, 3.0)
    (5.0, 20.0, nan)
    """
    steps = curves.evaluations["step"]
    losses = curves.evaluations["validation_loss"]
    reached = np.flatnonzero(losses <= target)
    if not len(reached):
        return float("nan")
    i = int(reached[0])
    if i == 0:
        return float(steps[0])
    share = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
    return (
        float(steps[i - 1] + share * (steps[i] - steps[i - 1]))
        if math.isfinite(share)
        else (float(steps[i]))
    )


def tabulate(runs: Sequence[Run], target: float | None) -> tuple[list[dict[str, Any]], float]:
    """One row per schedule, means over the seeds that did not diverge, and the target used."""
    sound = [run.summary["final_validation_loss"] for run in runs if not run.summary["diverged"]]
    if target is None:
        target = max(sound, default=float("nan"))
    rows = []
    for schedule in dict.fromkeys(run.schedule for run in runs):
        group = [run for run in runs if run.schedule == schedule]
        kept = [run for run in group if not run.summary["diverged"]]

        def mean(values):
            values = [v for v in values if v is not None and math.isfinite(v)]
            return fmean(values) if values else float("nan")

        validation = [run.summary["final_validation_loss"] for run in kept]
        row = {
            "schedule": schedule,
            "train": mean(run.summary["final_training_loss"] for run in kept),
            "validation": mean(validation),
        }
        if len({run.seed for run in runs}) > 1:
            row["spread"] = float(np.std(validation, ddof=1)) if len(kept) > 1 else float("nan")
        if "final_validation_accuracy" in runs[0].summary:
            accuracies = [run.summary["final_validation_accuracy"] for run in kept]
            row["accuracy"] = mean(accuracies)
            if "spread" in row:
                row["± accuracy"] = (
                    float(np.std(accuracies, ddof=1)) if len(kept) > 1 else float("nan")
                )
        else:
            row["perplexity"] = math.exp(min(mean(validation), 700.0)) if kept else float("nan")
        # A mean over those runs alone that get there would flatter a rule that often does not.
        counts = [steps_to(run.curves, target) for run in group]
        row[f"steps to {target:.2f}"] = round(fmean(counts)) if np.isfinite(counts).all() else None
        row["peak from"] = (
            round(mean(run.summary["first_step_at_peak_rate"] for run in group))
            if all(run.summary["first_step_at_peak_rate"] for run in group)
            else None
        )
        row["diverged"] = f"{len(group) - len(kept)} of {len(group)}"
        row["seconds"] = round(mean(run.summary["seconds"] for run in group))
        rows.append(row)
    return rows, target


def average(curves: Sequence[Curves]) -> Curves:
    """The mean of runs that were evaluated at the same steps; shorter ones (diverged) end them."""

    def mean(tables):
        if not all(tables):
            return {}
        length = min(len(table["step"]) for table in tables)
        return {
            name: np.mean([table[name][:length] for table in tables], axis=0) for name in tables[0]
        }

    return Curves(mean([c.metrics for c in curves]), mean([c.evaluations for c in curves]))


def compare(recipe: Recipe, comparison: Comparison, options: dict, console: Console) -> list[dict]:
    """Runs everything, one after the other, and returns the rows of the table."""
    if several_hosts():
        raise ValueError(
            "A comparison runs on one host; on several, train each schedule by "
            f"`python -m recipes.{recipe.name}`. Received: KERAS_DISTRIBUTION_NUM_PROCESSES="
            + os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"]
        )
    config = build(recipe.config, options)
    seeds = recipe.seeds if comparison.seeds is None else comparison.seeds
    option_name, cases = recipe.compared or (None, ())
    if option_name is None or option_name in options:
        option_name, cases = None, ("",)
    folder = Path(config.runs) / f"compare-{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    runs = []
    start = time.perf_counter()
    for case in cases:
        for seed in seeds:
            for schedule in comparison.schedules:
                name = "-".join(filter(None, (case, schedule, f"seed{seed}")))
                console.rule(
                    name.replace("-seed", ", seed ") if case else f"{schedule}, seed {seed}"
                )
                # The graph and the variables of the run before would stay in memory.
                keras.utils.clear_session()
                one = dataclasses.replace(
                    config,
                    schedule=schedule,
                    seed=seed,
                    runs=str(folder),
                    name=name,
                    **({option_name: case} if case else {}),
                )
                summary, run_folder = recipe.run(one, console)
                runs.append(Run(schedule, seed, summary, Curves.read(run_folder), case))
    rows, targets = [], {}
    for case in cases:
        found, targets[case] = tabulate([r for r in runs if r.case == case], comparison.target)
        # The targets differ between models, so they cannot stand in a header that all share.
        rows += [{option_name: case, **_shared_header(row)} for row in found] if case else found
    seconds = time.perf_counter() - start
    baselines = runs[0].summary["baselines"]
    rates = dict.fromkeys(f"{run.summary['peak_lr']:g}" for run in runs)
    plot_groups(
        {
            case: {
                s: average([r.curves for r in runs if (r.case, r.schedule) == (case, s)])
                for s in comparison.schedules
            }
            for case in cases
        },
        folder / "comparison.png",
        baselines=baselines,
        title=f"{recipe.name}, {keras.backend.backend()}, "
        + ("one seed" if len(seeds) == 1 else f"mean of {len(seeds)} seeds")
        + f", peak rate {' and '.join(rates)}",
    )
    write_table(rows, folder / "comparison")
    write_json(
        folder / "comparison.json",
        {
            "command": " ".join(["python -m recipes.compare", *sys.argv[1:]]),
            "seconds": round(seconds, 1),
            "target": targets if option_name else targets[""],
            "baselines": baselines,
            "data": runs[0].summary["data"],
            "environment": describe_environment(),
            "rows": rows,
            "runs": [{**({option_name: r.case} if r.case else {}), **r.summary} for r in runs],
        },
    )
    console.rule()
    print_table(rows, console)
    for name, value in baselines.items():
        console.print(f"Validation loss of the {name} model: {value:.4f}", highlight=False)
    for case in cases:
        about = [row for row in rows if not case or row[option_name] == case]
        _say(about, case, len(seeds), console)
    console.print(
        f"{seconds:.0f} s in all. Figure, table and runs are in {folder}",
        highlight=False,
        soft_wrap=True,
    )
    return rows


def _shared_header(row: dict[str, Any]) -> dict[str, Any]:
    """`steps to 0.35` as two columns, since another model's target is another."""
    result = {}
    for name, value in row.items():
        if name.startswith("steps to "):
            result |= {"target": float(name.removeprefix("steps to ")), "steps to it": value}
        else:
            result[name] = value
    return result


def _say(rows: list[dict], case: str, seeds: int, console: Console) -> None:
    """What the table shows in words, whichever schedule it favours."""
    about = f"{case}: " if case else ""
    sound = [row for row in rows if math.isfinite(row["validation"])]
    if not sound:
        console.print(f"{about}Every run diverged.")
        return
    best = min(sound, key=lambda row: row["validation"])
    console.print(
        f"{about}Lowest validation loss: {best['schedule']}, {best['validation']:.4f}."
        + (" One seed: differences of a few hundredths mean nothing." if seeds == 1 else ""),
        highlight=False,
        soft_wrap=True,
    )


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """The command line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    program = "python -m recipes.compare"
    with one_line_errors(program):
        name = argv.pop(0) if argv and not argv[0].startswith("-") else "gpt"
        recipe = load_recipe(name)
        given = parse(
            [Comparison, recipe.config],
            argv,
            program=f"{program} {name}",
            description=__doc__,
            exclude=_EXCLUDED,
        )
        check_given(given, comparison=True)
        return compare(recipe, build(Comparison, given), given, make_console())


if __name__ == "__main__":
    main()
