"""The report of the study `sizes`: a table for each size, and the papers' figure."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.quality import records
from benchmarks.quality.evidence import SELF_TUNED
from benchmarks.quality.methods import LINEAR, NONE, PAPER, Method
from benchmarks.quality.rates import decay
from benchmarks.quality.rounds import Results
from benchmarks.quality.sizes import METHODS, SEEDS, SIZES
from benchmarks.quality.studies import GRID
from benchmarks.quality.workload import load_workload
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic
from recipes.common.results.formatting import loss
from recipes.common.results.plots import COLOURS, DASHES

FIGURE = "sizes.png"


def label(method: Method) -> str:
    """How the table and the figure call a method."""
    if method in LINEAR:
        return f"linear {method.constants['percent']}%"
    if method in PAPER:
        return f"rule, C = {method.constants['fraction']:g} of the first loss"
    return {NONE.name: "none", SELF_TUNED.name: "self-tuned rule"}[method.name]


class Size:
    """The records of one size.

    Args:
        name: Of the workload.
        found: The records of the study.
        results: The same as scores.
    """

    def __init__(self, name: str, found: Sequence[dict[str, Any]], results: Results):
        self.name, self.results = name, results
        self.peak = SIZES.rate(name, results)
        self.records = {
            (r["name"], r["identity"]["rate"], r["identity"]["seed"]): r
            for r in found
            if r["identity"]["workload"] == name
        }

    @property
    def peaks(self) -> tuple[float, ...]:
        """The peak rate and the next one above."""
        return GRID[GRID.index(self.peak) :][:2]

    def scores(self, method: Method, peak: float) -> dict[int, float]:
        """By seed, the held-out loss that counts."""
        keys = {seed: (self.name, method.name, peak, seed) for seed in SEEDS}
        scores = self.results.scores
        return {seed: scores[key] for seed, key in keys.items() if key in scores}

    def tuned(self, peak: float) -> dict[int, float]:
        """The scores of the best length of linear warm-up, by their mean."""
        found = [scores for m in LINEAR if (scores := self.scores(m, peak))]
        return min(found, key=lambda scores: statistics.fmean(scores.values()), default={})

    def table(self) -> str:
        """Loss, perplexity and difference to tuned linear warm-up, at both rates."""
        lines = ["| method |", "|---|"]
        rows = {method.name: f"| {label(method)} |" for method in METHODS}
        for peak in self.peaks:
            lines[0] += f" loss at {peak:g} | perplexity | to tuned linear, % |"
            lines[1] += "---|---|---|"
            tuned = self.tuned(peak)
            for method in METHODS:
                scores = self.scores(method, peak)
                if not scores:
                    rows[method.name] += " | | |"
                    continue
                mean = statistics.fmean(scores.values())
                shared = [seed for seed in scores if seed in tuned]
                differences = [100 * (scores[seed] / tuned[seed] - 1) for seed in shared]
                written = ", ".join(f"{difference:+.2f}" for difference in differences)
                rows[method.name] += f" {loss(mean)} | {math.exp(mean):.1f} | {written} |"
        return "\n".join(lines + list(rows.values()))


def write_report(folder: Path, path: Path) -> Path:
    """Writes the report to `path` and its figure beside it.

    Args:
        folder: Of the study's records.
        path: Of the Markdown file.

    Raises:
        InputError: If there are no records of a size whose rate is chosen.
    """
    found = records.read(folder) if folder.exists() else []
    results = Results(folder)
    sizes = [Size(name, found, results) for name in SIZES.workloads]
    sizes = [size for size in sizes if size.peak is not None and size.tuned(size.peak)]
    if not sizes:
        raise InputError(f"There are no results there. Received: {folder}")
    draw(sizes, path.parent / FIGURE)
    seconds = sum(record["processor_seconds"] for record in found)
    versions = sorted({str(record["environment"]["versions"]) for record in found})
    processors = sorted({record["environment"]["processor"] for record in found})
    parts = [
        "# Language models of three sizes",
        f"From {len(found)} trials, {seconds / 3600:.1f} hours of a processor "
        f"({', '.join(processors)}; {'; '.join(versions)}). What was decided beforehand: "
        "`benchmarks/quality/PROTOCOL.md`, section `sizes`. Written by "
        "`python -m benchmarks.quality report sizes`. Differences are given seed by seed, below 0 "
        "is better; two seeds make no interval.",
        f"![Held-out perplexity and effective rate]({FIGURE})",
    ]
    for size in sizes:
        work = load_workload(size.name)
        parts += [
            f"## `{size.name}`",
            f"{work.description[0].upper()}{work.description[1:]}; {work.updates} updates; peak "
            f"rate {size.peak:g}, where linear warm-up over 20% was best with another seed, and "
            "the next one above.",
            size.table(),
        ]
    with atomic(path) as partial:
        partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def draw(sizes: Sequence[Size], path: Path) -> None:
    """Held-out perplexity and effective rate over the updates, seed 0, a column for each size."""
    figure = Figure(figsize=(4.6 * len(sizes), 7.4), layout="constrained")
    axes = figure.subplots(2, len(sizes), squeeze=False)
    shown = (NONE, LINEAR[2], *PAPER, SELF_TUNED)
    for column, size in enumerate(sizes):
        for index, method in enumerate(shown):
            record = size.records.get((method.name, size.peak, SEEDS[0]))
            if record is None:
                continue
            style = {
                "color": COLOURS[index % len(COLOURS)],
                "linestyle": DASHES[index % len(DASHES)],
                "label": label(method),
            }
            steps, losses = zip(*record["held_out_losses"], strict=True)
            values = [math.nan if value is None else math.exp(value) for value in losses]
            axes[0, column].plot(steps, values, marker=".", **style)
            factors = np.array([math.nan if f is None else f for f in record["factors"]])
            updates = record["identity"]["updates"]
            at = (np.arange(len(factors)) + 0.5) * updates / len(factors)
            axes[1, column].plot(at, size.peak * factors * decay(at, float(updates)), **style)
        axes[0, column].set(yscale="log", title=f"{size.name}, peak rate {size.peak:g}")
        axes[1, column].set(xlabel="update")
    axes[0, 0].set_ylabel("held-out perplexity")
    axes[1, 0].set_ylabel("effective learning rate")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110)
