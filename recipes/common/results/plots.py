"""The picture of one run or of several: loss, and effective rate, over the updates."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from recipes.common.files.writing import atomic
from recipes.common.results.runs import Curves
from recipes.common.results.smoothing import smooth

# Okabe and Ito's colours, which people with any colour vision can tell apart; with a dash of its
# own for each line, so that a print in grey can be read too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")


def plot_runs(
    runs: dict[str, Curves],
    path: Path,
    baselines: dict[str, float] | None = None,
    title: str | None = None,
) -> None:
    """Writes a PNG: the losses, the accuracy where there is one, the effective learning rate.

    Args:
        runs: Curves by label.
        path: Where the picture goes.
        baselines: Losses to beat, drawn as horizontal lines.
        title: Printed above.
    """
    plot_groups({"": runs}, path, baselines, title)


def plot_groups(
    groups: dict[str, dict[str, Curves]],
    path: Path,
    baselines: dict[str, float] | None = None,
    title: str | None = None,
) -> None:
    """The same for several comparisons, such as one for each model: a row of charts for each.

    Args:
        groups: By name, the arguments of `plot_runs`.
        path: Where the picture goes.
        baselines: Losses to beat, drawn as horizontal lines.
        title: Printed above.
    """
    accuracy = any("accuracy" in c.evaluations for runs in groups.values() for c in runs.values())
    panels = [_losses, *([_accuracies] if accuracy else []), _rates]
    size = (4.6 * len(panels) if accuracy else 11, 4.2 if len(groups) == 1 else 3.7 * len(groups))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    rows = figure.subplots(len(groups), len(panels), squeeze=False)
    for (name, runs), row in zip(groups.items(), rows, strict=True):
        for panel, axes in zip(panels, row, strict=True):
            for index, (label, curves) in enumerate(runs.items()):
                style = {
                    "color": COLOURS[index % len(COLOURS)],
                    "linestyle": DASHES[index % len(DASHES)],
                }
                panel(axes, curves, label, style, len(runs) == 1)
            if panel is _losses:
                _mark(axes, baselines or {})
            _finish(axes, name)
    if title:
        figure.suptitle(title, fontsize=11)
    with atomic(path) as partial:
        figure.savefig(partial)


def _losses(axes, curves: Curves, label: str, style: dict, alone: bool) -> None:
    axes.set(ylabel="loss", title="Loss" if alone else "Validation loss (training loss pale)")
    _trained_and_held_out(axes, curves, "loss", label, style, alone)


def _accuracies(axes, curves: Curves, label: str, style: dict, alone: bool) -> None:
    title = "Accuracy" if alone else "Validation accuracy (training accuracy pale)"
    axes.set(ylabel="accuracy", title=title)
    _trained_and_held_out(axes, curves, "accuracy", label, style, alone)


def _trained_and_held_out(axes, curves, name, label, style, alone) -> None:
    metrics, evaluations = curves.metrics, curves.evaluations
    if name in metrics:
        axes.plot(
            *smooth(metrics["step"], metrics[name]),
            color=style["color"],
            alpha=0.35,
            linewidth=1.2,
            label="training" if alone else None,
        )
    if f"validation_{name}" in evaluations:
        axes.plot(
            evaluations["step"],
            evaluations[f"validation_{name}"],
            marker="o",
            markersize=3,
            label="validation" if alone else label,
            **style,
        )


def _rates(axes, curves: Curves, label: str, style: dict, alone: bool) -> None:
    axes.set(ylabel="learning rate", title="Effective learning rate")
    metrics = curves.metrics
    if not metrics:
        return
    axes.plot(metrics["step"], metrics["learning_rate"], label=label, **style)
    if alone and "base_learning_rate" in metrics and np.any(metrics["factor"] < 1):
        axes.plot(
            metrics["step"],
            metrics["base_learning_rate"],
            color="0.6",
            linewidth=1,
            linestyle=":",
            label="base rate",
        )
    # Room above the plateau for the legend.
    axes.set_ylim(0, 1.18 * max(line.get_ydata().max() for line in axes.get_lines()))
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4), useMathText=True)


def _mark(axes, baselines: dict[str, float]) -> None:
    for name, value in baselines.items():
        axes.axhline(value, color="0.4", linewidth=1, linestyle=":")
        axes.annotate(
            f"{name} {value:.2f}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="0.3",
        )


def _finish(axes, group: str) -> None:
    axes.set(xlabel="update")
    if group:
        axes.set_title(f"{group}: {axes.get_title()}", fontsize=10)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False)
