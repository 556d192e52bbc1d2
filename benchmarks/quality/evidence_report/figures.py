"""The figures of the study `evidence`."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.quality.evidence_report.rows import ROWS, SELF_TUNED
from benchmarks.quality.measures import Measures
from benchmarks.quality.methods import LINEAR
from recipes.common.files.writing import atomic
from recipes.common.results.plots import COLOURS, DASHES

DRAWN = (
    "none",
    "linear, best length",
    "linear 10%",
    "untuned linear",
    "the paper's rule, best C",
    "self-tuned rule",
)


def _style(index: int) -> dict:
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index // len(COLOURS) % 4]}


def draw_curves(measures: Measures, path: Path) -> None:
    """Loss against the peak rate in round A, a chart for each workload."""
    names = measures.workloads
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.2 * rows + 0.5), layout="constrained")
    charts = figure.subplots(rows, columns, squeeze=False).ravel()
    for chart, name in zip(charts, names, strict=False):
        for index, label in enumerate(DRAWN):
            curve = measures.curve(name, ROWS[label])
            if curve:
                chart.plot(*zip(*curve, strict=True), marker=".", label=label, **_style(index))
        trivial = measures.first(name)["trivial_loss"]
        chart.axhline(trivial, color="0.6", linewidth=1, linestyle=":")
        chart.set(xscale="log", title=name, xlabel="peak learning rate", ylabel="held-out loss")
        if trivial > 4 * (trivial - measures.room(name)) > 0:
            chart.set_yscale("log")
    for chart in charts[len(names) :]:
        chart.set_axis_off()
    handles, labels = charts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    _save(figure, path)


def draw_profile(measures: Measures, path: Path) -> None:
    """Share of workloads within a factor of the best method there."""
    factors = np.linspace(1.0, 1.5, 251)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for index, (label, shares) in enumerate(measures.profile(ROWS, factors).items()):
        axes.plot(factors, shares, label=label, **_style(index))
    axes.set(
        xlabel="loss over that of the best method", ylabel="share of workloads", ylim=(0, 1.02)
    )
    axes.legend(fontsize=7, ncols=2)
    _save(figure, path)


def draw_summary(measures: Measures, path: Path) -> None:
    """The self-tuned rule against tuned linear warm-up, and what a wrong peak rate costs."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_differences(measures, left)
    _draw_costs(measures, right)
    with atomic(path) as partial:
        figure.savefig(partial, dpi=120)


def _draw_differences(measures: Measures, axes: Axes) -> None:
    names = measures.workloads[::-1]
    found = [measures.compare(name, SELF_TUNED, LINEAR) for name in names]
    for place, interval in enumerate(found):
        error = [[interval.mean - interval.low], [interval.high - interval.mean]]
        axes.errorbar(interval.mean, place, xerr=error, fmt="o", color=COLOURS[0], capsize=3)
    axes.axvline(0.0, color="0.5", linewidth=1)
    axes.set(
        yticks=range(len(names)),
        yticklabels=names,
        xlabel="percent above tuned linear warm-up,\n95% interval over five seeds; left is better",
        title="held-out loss, each at its best peak rate",
    )
    # Ends beyond this are cut off: one noisy workload would hide all others.
    reach = max((max(-i.low, i.high) for i in found), default=0.0)
    limit = max(1.0, min(10.0, 1.1 * reach))
    for place, interval in enumerate(found):
        if abs(interval.mean) > limit:
            said = f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"
            side = 1 if interval.mean > 0 else -1
            mark = {1: f"{said} ▶", -1: f"◀ {said}"}[side]
            place = (0.97 * side * limit, place + 0.12)
            axes.annotate(mark, place, ha="right" if side > 0 else "left", va="bottom", fontsize=8)
    axes.set(xlim=(-limit, limit), ylim=(-0.6, len(names) - 0.4))
    axes.grid(axis="x", linewidth=0.4)


def _draw_costs(measures: Measures, axes: Axes) -> None:
    for index, label in enumerate(DRAWN):
        means = measures.mean_shares(ROWS[label])
        rates = [10 ** (place / 2) for place in means]
        axes.plot(rates, means.values(), marker=".", label=label, **_style(index))
    axes.set(
        xscale="log",
        xlabel="peak rate, in units of tuned linear warm-up's best one",
        ylabel="share of the way from the lowest loss\nto the trivial predictor",
        title="what a wrong peak rate costs, mean over the workloads",
        # Room for the legend: shares end at 1, and few methods come near it.
        ylim=(0, 1),
    )
    axes.legend(fontsize=8, ncols=2, loc="upper center")


def _save(figure: Figure, path: Path) -> None:
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110)
