"""What is compared: a recipe, schedules, seeds."""

import dataclasses
from typing import Literal

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import check_options, option
from recipes.common.command_line.settings import (
    ALL_SCHEDULES,
    LARGEST_LOSS,
    LARGEST_SEED,
    SCHEDULES,
)


@dataclasses.dataclass
class Comparison:
    """Comparison: which runs."""

    schedules: tuple[Literal[ALL_SCHEDULES], ...] = option(SCHEDULES, "the schedules to compare")
    seeds: tuple[int, ...] | None = option(
        None,
        "one run for each; 0 alone is a demonstration, a claim needs three or more [default: the"
        " recipe's own]",
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
