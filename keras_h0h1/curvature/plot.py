"""The papers' figure: curvature against loss, coloured by progress."""

import os
from typing import Any

import numpy as np

from keras_h0h1._figures import BLACK, ORANGE, new_figure
from keras_h0h1._types import ArrayLike, Axes


def plot_smoothness(
    steps: ArrayLike,
    losses: ArrayLike,
    curvatures: ArrayLike,
    fit: Any = None,
    *,
    ylabel: str = "curvature",
    title: str | None = None,
    path: str | os.PathLike | None = None,
    ax: Axes | None = None,
    colorbar: bool = True,
) -> Axes:
    r"""Draws one point a measurement, the fitted line and the upper envelope.

    Args:
        steps: Steps of the measurements, shape `(points,)`; they colour the points.
        losses: Losses, same shape.
        curvatures: Curvatures, same shape.
        fit: A `SmoothnessFit`, or `None`. It is drawn over its range of validity only.
        ylabel: What was measured.
        title: Title of the axes.
        path: Where to save the figure, or `None`.
        ax: Matplotlib axes to draw on; default: a new figure. Needs the package `matplotlib`.
        colorbar: Whether to add the bar that explains the colours.

    Returns:
        The axes.
    """
    if ax is None:
        ax = new_figure(6.4, 4.2).add_subplot()
    steps, losses = np.asarray(steps), np.asarray(losses, "float64")
    curvatures = np.asarray(curvatures, "float64")
    points = ax.scatter(losses, curvatures, c=steps, cmap="viridis", s=18, zorder=3)
    if colorbar:
        ax.figure.colorbar(points, ax=ax, label="step")
    if fit is not None:
        grid = np.linspace(fit.valid_range[0], fit.valid_range[1], 200)
        rho = "" if fit.rho == 1.0 else rf"^{{{fit.rho:.2g}}}"
        gap = "f" if fit.f_star == 0.0 else rf"(f - {fit.f_star:.3g})"
        ax.plot(
            grid,
            fit.curvature(grid),
            color=ORANGE,
            label=rf"${fit.H0:.3g} + {fit.H1:.3g}\,{gap}{rho}$,  $R^2 = {fit.r_squared:.2f}$",
        )
        ax.plot(grid, fit.upper(grid), color=BLACK, ls="--", lw=1, label="upper envelope")
        # Below the axes: inside, it would hide points wherever it stood.
        ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    ax.set_xlabel("loss on the probe's batch (training goes from right to left)")
    ax.set_ylabel(ylabel)
    # Training goes to smaller losses; the axis stays in its usual direction, as in the papers.
    ax.set_ylim(bottom=0)
    if title:
        ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    if path is not None:
        ax.figure.savefig(path, dpi=150)
    return ax
