"""Which experiments there are, and the options of the program."""

import dataclasses
from typing import Literal

from recipes.common.command_line.options import check_options, option
from recipes.theory import (
    bounds,
    chains,
    exponents,
    networks,
    phases,
    powers,
    schedules,
    separation,
    sharpness,
    two_layer,
)

_MODULES = (separation, schedules, bounds, sharpness, two_layer, chains, powers)
_MODULES += (exponents, networks, phases)

EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in _MODULES}
"""By name, in the order in which they are run. A new experiment is a module and its name here."""


@dataclasses.dataclass
class Theory:
    """Theory: which experiments, and where."""

    quick: bool = option(False, "smaller grids: under a minute instead of a few")
    only: tuple[Literal[tuple(EXPERIMENTS)], ...] = option(
        (), f"some of {', '.join(EXPERIMENTS)} [default: all]"
    )
    out: str = option("runs/theory", "the folder for figures, tables and data", kind="folder")

    def __post_init__(self):
        check_options(self)
