"""The figure of a range test: loss against rate, and what was read off it."""

import os
from typing import Any

import numpy as np

from keras_h0h1._figures import BLACK, BLUE, GREY, ORANGE, new_figure
from keras_h0h1._types import ArrayLike, Axes, Tensor
from keras_h0h1.suggestion.curve import smooth

_LABELS = {
    "lowest": ("lowest before it turns", ":"),
    "blow_up": ("loss back at its start", "--"),
    "stable_at_start": ("stable at the start", "-."),
    "stable_later": ("stable at the lowest loss", (0, (1, 3))),
}


def plot_range_test(
    rates: ArrayLike,
    losses: ArrayLike,
    batch_losses: ArrayLike,
    initial_loss: float,
    base: Tensor,
    marks: Any,
    *,
    title: str | None = None,
    path: str | os.PathLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws the loss against the rate, and the rates that bear on the choice.

    Args:
        rates: The rates, shape `(n,)`.
        losses: Of each batch, less its own loss at the start, plus the mean, same shape.
        batch_losses: As they were, same shape.
        initial_loss: Mean over the batches at the start.
        base: The recommended rate.
        marks: Other rates by name, as `recommend` returns them.
        title: Title of the axes.
        path: Where to save the figure, or `None`.
        ax: Matplotlib axes to draw on; default: a new figure. Needs the package `matplotlib`.

    Returns:
        The axes.
    """
    if ax is None:
        ax = new_figure(6.4, 4.4).add_subplot()
    finite = np.isfinite(losses)
    lowest = float(np.min(np.asarray(losses)[finite], initial=initial_loss))
    room = max(initial_loss - lowest, 0.05 * abs(initial_loss), 1e-6)
    # What blew up leaves the axes: how far does not matter.
    low, high = lowest - 0.15 * room, initial_loss + 0.6 * room
    ax.plot(rates, batch_losses, ".", color=GREY, ms=4, label="batch")
    ax.plot(
        np.asarray(rates)[finite],
        smooth(np.minimum(np.asarray(losses)[finite], high + room)),
        color=BLUE,
        lw=2,
        label="against the same batch's first loss, smoothed",
    )
    ax.axhline(initial_loss, color=GREY, lw=0.8)
    for name, (label, style) in _LABELS.items():
        if name in marks:
            ax.axvline(
                marks[name], color=BLACK, ls=style, lw=1, label=f"{label}, {marks[name]:.2g}"
            )
    ax.axvline(base, color=ORANGE, lw=2.5, label=f"suggested, {base:.2g}")
    ax.set_xscale("log")
    # A stable rate may lie far outside of what was tested.
    ax.set_xlim(rates[0], rates[-1] * 1.5)
    ax.set_ylim(low, high)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    if title:
        ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    if path is not None:
        ax.figure.savefig(path, dpi=150)
    return ax
