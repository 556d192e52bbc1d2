"""The picture of a simulated schedule."""

import os
from typing import Any

import numpy as np

from keras_h0h1._figures import BLACK, BLUE, GREEN, ORANGE, new_figure
from keras_h0h1._types import Figure


def draw(run: Any, path: str | os.PathLike | None = None, title: str | None = None) -> Figure:
    """Loss, factor and rates of a `Simulation`, one below the other; returns the figure."""
    has_loss = bool(np.isfinite(run.batch_loss).any())
    has_factor = has_loss and bool(np.isfinite(run.learning_rate_factor).any())
    heights = [1.0] * has_loss + [1.0] * has_factor + [1.3]
    figure = new_figure(6.4, 1.2 + 1.3 * sum(heights))
    axes = list(
        figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    )
    # A line through a handful of points hides where they are; a single one has no line.
    marker = "." if len(run.step) <= 50 else None
    if has_loss:
        ax = axes.pop(0)
        ax.plot(run.step, run.batch_loss, color=BLACK, lw=1, marker=marker)
        ax.set_ylabel("loss")
    if has_factor:
        ax = axes.pop(0)
        ax.plot(run.step, run.learning_rate_factor, color=GREEN, marker=marker)
        ax.set_ylabel("factor")
        ax.set_ylim(0, 1.05 * max(1.0, np.nanmax(run.learning_rate_factor)))
        ax.text(
            0.99,
            0.06,
            _summary(run),
            transform=ax.transAxes,
            ha="right",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    ax = axes.pop(0)
    ax.plot(run.step, run.effective_learning_rate, color=BLUE, marker=marker, label="effective")
    if has_loss:
        ax.plot(run.step, run.learning_rate, color=ORANGE, ls="--", lw=1, label="base")
        ax.legend(frameon=False, fontsize=8)
    ax.set_ylabel("learning rate")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("step")
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=9, wrap=True)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _summary(run) -> str:
    """When the factor first is 1, which is the end of the warm-up."""
    factor = run.learning_rate_factor
    reached = np.flatnonzero(factor >= 1.0)
    first = f"{factor[0]:.3g} at first"
    if not len(reached):
        return f"{first}, never 1 (at most {np.nanmax(factor):.3g})"
    stays = bool(np.all(factor[reached[0] :] >= 1.0))
    when = "from step {} on" if stays else "for the first time at step {}"
    return f"{first}, 1 " + when.format(run.step[reached[0]])
