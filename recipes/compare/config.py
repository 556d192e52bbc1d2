"""What is compared: a recipe, schedules, seeds."""

import dataclasses
import importlib
from typing import Literal

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import check_options, option
from recipes.common.command_line.settings import (
    ALL_SCHEDULES,
    LARGEST_LOSS,
    LARGEST_SEED,
    SCHEDULES,
)
from recipes.common.recipe import Recipe
from recipes.common.results.configuration import DRY_RUN, SINGLE_RUN

RECIPES = {
    "gpt": "recipes.gpt.recipe",
    "vision": "recipes.vision.recipe",
}
"""Modules with a `RECIPE`."""

EXCLUDED = ("schedule", "seed", *sorted(SINGLE_RUN | DRY_RUN))
"""Options of the recipe that a comparison sets itself, or that belong to a single run."""


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


def load_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: If there is none.
    """
    if name not in RECIPES:
        raise InputError(
            f"There is no such recipe; there are {', '.join(RECIPES)}. Received: recipe={name!r}"
        )
    return importlib.import_module(RECIPES[name]).RECIPE
