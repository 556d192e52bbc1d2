"""What an experiment is, what it gives, and the style of its figure."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.theory.descent import Descent, StepRule, descend
from keras_h0h1.theory.problems import Problem
from recipes.common.results.plots import COLOURS, DASHES

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclasses.dataclass(frozen=True)
class Result:
    """What an experiment leaves behind.

    Args:
        rows: The table, each row with the same keys.
        findings: Sentences with the numbers that matter, printed and saved.
        draw: Draws on an empty figure.
        data: Anything else worth keeping, saved as JSON.
    """

    rows: list[dict[str, Any]]
    findings: list[str]
    draw: Callable[[Figure], None]
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A question, and the function that answers it.

    Args:
        name: Of its files.
        title: Of its figure and table.
        run: From `(quick, tick)` to a `Result`; `tick()` is called as work is done.
        ticks: How often `tick` is called, quick and in full.
    """

    name: str
    title: str
    run: Callable[[bool, Callable[[], None]], Result]
    ticks: tuple[int, int]


def steps_of(
    problem: Problem, rule: StepRule, start, epsilon: float, max_steps: int = 10_000_000
) -> Descent:
    """`descend`, compiled where the backend can compile a loop."""
    if keras.backend.backend() != "torch":
        start = keras.ops.convert_to_tensor(start, dtype="float64")
    return descend(problem, rule, start, epsilon, max_steps)


def fixed(sizes) -> StepRule:
    """A step rule that never changes: a number, or one for each member of a batch."""
    sizes = np.asarray(sizes, dtype="float64")
    return lambda loss, norm, step: like(sizes, loss)


def like(array, reference):
    """The array as what `reference` is: a tensor of its dtype, or NumPy."""
    if keras.ops.is_tensor(reference):
        return keras.ops.convert_to_tensor(array, dtype=reference.dtype)
    return array


def style(index: int, marker: bool = True) -> dict:
    """Colour, dash and marker of the line number `index`; any one of them tells lines apart."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)] if marker else None,
        "markersize": 4.5,
        "linewidth": 1.6,
    }


def tidy(axes, title: str, xlabel: str, ylabel: str) -> None:
    """Labels, a light grid, and no box."""
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.title.set_fontsize(10.5)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def power_of(x, y) -> float:
    """The exponent of the best fit y = c x^exponent."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
