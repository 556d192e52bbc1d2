"""The picture of one run or of several: loss, and effective rate, over the updates."""

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from recipes.common.files import atomic
from recipes.common.run_folder import RunFolder

# Okabe and Ito's colours, which people with any colour vision can tell apart; with a dash of its
# own for each line, so that a print in grey can be read too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")


@dataclasses.dataclass(frozen=True)
class Curves:
    """What there is to draw of a run.

    Args:
        metrics: Columns of `metrics.csv`, by name.
        evaluations: Columns of `evaluations.csv`, by name.
    """

    metrics: dict[str, np.ndarray]
    evaluations: dict[str, np.ndarray]

    @classmethod
    def read(cls, folder: RunFolder) -> "Curves":
        def columns(name):
            rows = folder.read(name)
            return {k: np.array([row[k] for row in rows]) for k in rows[0]} if rows else {}

        return cls(columns("metrics.csv"), columns("evaluations.csv"))


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """The mean over the last `width` values; over fewer at the beginning."""
    total = np.cumsum(np.insert(np.asarray(values, np.float64), 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (total[ends] - total[starts]) / (ends - starts)


def plot_runs(
    runs: dict[str, Curves],
    path: Path,
    baselines: dict[str, float] | None = None,
    title: str | None = None,
) -> None:
    """Writes a PNG: on the left the losses, on the right the effective learning rate.

    Args:
        runs: Curves by label.
        path: Where the picture goes.
        baselines: Losses to beat, drawn as horizontal lines.
        title: Printed above.
    """
    figure = Figure(figsize=(11, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    alone = len(runs) == 1
    for index, (label, curves) in enumerate(runs.items()):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        metrics, evaluations = curves.metrics, curves.evaluations
        if metrics:
            steps, width = metrics["step"], max(1, len(metrics["step"]) // 50)
            left.plot(
                steps,
                smooth(metrics["loss"], width),
                color=colour,
                alpha=0.35,
                linewidth=1.2,
                label="training" if alone else None,
            )
            right.plot(steps, metrics["learning_rate"], color=colour, linestyle=dash, label=label)
            if alone and np.any(metrics["factor"] < 1):
                right.plot(
                    steps,
                    metrics["base_learning_rate"],
                    color="0.6",
                    linewidth=1,
                    linestyle=":",
                    label="base rate",
                )
        if evaluations:
            left.plot(
                evaluations["step"],
                evaluations["validation_loss"],
                color=colour,
                linestyle=dash,
                marker="o",
                markersize=3,
                label="validation" if alone else label,
            )
    for name, value in (baselines or {}).items():
        left.axhline(value, color="0.4", linewidth=1, linestyle=":")
        left.annotate(
            f"{name} {value:.2f}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="0.3",
        )
    left.set(
        xlabel="update",
        ylabel="loss",
        title="Loss" if alone else "Validation loss (training loss pale)",
    )
    right.set(xlabel="update", ylabel="learning rate", title="Effective learning rate")
    # Room above the plateau for the legend.
    right.set_ylim(0, right.get_ylim()[1] * 1.12)
    right.ticklabel_format(axis="y", style="sci", scilimits=(-3, -3), useMathText=True)
    for axes in (left, right):
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)
    with atomic(path) as partial:
        figure.savefig(partial)
