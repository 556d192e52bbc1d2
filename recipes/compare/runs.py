"""The runs of a comparison, one after the other."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from recipes.common.recipe import Recipe
from recipes.common.results.csv_files import Columns
from recipes.common.results.runs import Curves


@dataclasses.dataclass(frozen=True)
class Cases:
    """What is compared besides schedules and seeds: several values of one option, or nothing.

    Args:
        option: The option's name; `None` if there is no such option.
        values: Its values; one empty string where there is no option.
    """

    option: str | None = None
    values: tuple[str, ...] = ("",)

    @classmethod
    def of(cls, recipe: Recipe, given: dict[str, Any]) -> "Cases":
        """Those that the recipe declares, unless the user has chosen one of them."""
        if recipe.compared is None or recipe.compared[0] in given:
            return cls()
        return cls(*recipe.compared)

    def label(self, case: str) -> dict[str, str]:
        """The option with one of its values; empty if there is no option."""
        return {self.option: case} if self.option else {}


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


def train_all(
    recipe: Recipe,
    config: Any,
    cases: Cases,
    seeds: Sequence[int],
    schedules: Sequence[str],
    folder: Path,
    console: Console,
) -> Iterator[Run]:
    """Trains each case with each seed and schedule, in a folder of its own inside `folder`."""
    for case in cases.values:
        for seed in seeds:
            for schedule in schedules:
                name = "-".join(filter(None, (case, schedule, f"seed{seed}")))
                title = name.replace("-seed", ", seed ") if case else f"{schedule}, seed {seed}"
                console.rule(title)
                # The graph and the variables of the run before would stay in memory.
                keras.utils.clear_session()
                one = dataclasses.replace(
                    config,
                    schedule=schedule,
                    seed=seed,
                    runs=str(folder),
                    name=name,
                    **cases.label(case),
                )
                summary, run_folder = recipe.run(one, console)
                yield Run(schedule, seed, summary, Curves.read(run_folder), case)


def average(curves: Sequence[Curves]) -> Curves:
    """The mean of runs that were evaluated at the same steps; shorter ones (diverged) end them."""

    def mean(tables: list[Columns]) -> Columns:
        if not all(tables):
            return {}
        length = min(len(table["step"]) for table in tables)
        return {
            name: np.mean([table[name][:length] for table in tables], axis=0) for name in tables[0]
        }

    return Curves(mean([c.metrics for c in curves]), mean([c.evaluations for c in curves]))
