"""Tables and figures of a study, from its files alone."""

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.quality import records
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic
from recipes.common.results.formatting import loss
from recipes.common.results.plots import COLOURS, DASHES

TUNED = "linear, the best at each rate"


class Table:
    """The scores of one workload.

    Args:
        found: The workload's records.
    """

    def __init__(self, found: list[dict[str, Any]]):
        self.records = found
        cells = defaultdict(list)
        for record in found:
            cells[record["name"], record["identity"]["rate"]].append(record)
        self.rates = sorted({rate for _, rate in cells})
        self.methods = list(dict.fromkeys(sorted((m for m, _ in cells), key=_order)))
        self.means = {k: statistics.mean(map(records.score, v)) for k, v in cells.items()}
        self.diverged = {k: sum(r["diverged"] for r in v) for k, v in cells.items()}
        self.seeds = {k: len(v) for k, v in cells.items()}
        linear = [m for m in self.methods if m.startswith("linear")]
        for rate in self.rates:
            values = [k for k in ((m, rate) for m in linear) if k in self.means]
            if values:
                best = min(values, key=self.means.get)
                for column in (self.means, self.diverged, self.seeds):
                    column[TUNED, rate] = column[best]
        if len(linear) > 1:
            self.methods.insert(self.methods.index(linear[-1]) + 1, TUNED)

    def best(self, method: str) -> tuple[float, float] | None:
        """The lowest mean score of a method and its rate."""
        values = [(v, rate) for (m, rate), v in self.means.items() if m == method]
        return min(values, default=None)

    def reference(self) -> tuple[float, float] | None:
        """Tuned linear warm-up at its best rate."""
        return self.best(TUNED)

    def excess(self, method: str, steps_up: int = 0) -> float | None:
        """How many percent above the reference, at the method's best rate or at a higher one.

        Args:
            method: Name of the method.
            steps_up: 0: each at its own best rate. Otherwise both at the rate that stands so many
                places above the reference's best one in the grid; the answer is then the
                difference to linear warm-up at that same rate.
        """
        reference = self.reference()
        if reference is None or self.best(method) is None:
            return None
        if steps_up == 0:
            return 100 * (self.best(method)[0] / reference[0] - 1)
        place = self.rates.index(reference[1]) + steps_up
        if place >= len(self.rates):
            return None
        values = [self.means.get((m, self.rates[place])) for m in (method, TUNED)]
        return None if None in values else 100 * (values[0] / values[1] - 1)

    def markdown(self) -> str:
        """Means over the seeds by method and rate; a cross counts the runs that diverged."""
        head = "| | " + " | ".join(f"{rate:g}" for rate in self.rates) + " | best |"
        lines = [head, "|---" * (len(self.rates) + 2) + "|"]
        for method in self.methods:
            cells = []
            for rate in self.rates:
                key = method, rate
                if key not in self.means:
                    cells.append("")
                    continue
                cross = f" †{self.diverged[key]}" if self.diverged[key] else ""
                cells.append(loss(self.means[key]) + cross)
            lines.append(f"| {method} | {' | '.join(cells)} | **{loss(self.best(method)[0])}** |")
        return "\n".join(lines)


def _order(method: str) -> tuple:
    family = method.split("-")[0]
    known = ["none", "linear", "untuned", "auto"]
    numbers = [float(n) if n.replace(".", "").isdigit() else n for n in method.split("-")[1:]]
    return (
        known.index(family) if family in known else 9,
        family,
        [str(n).zfill(8) for n in numbers],
    )


def tables(found: list[dict[str, Any]]) -> dict[str, Table]:
    """By workload."""
    groups = defaultdict(list)
    for record in found:
        groups[record["identity"]["workload"]].append(record)
    return {name: Table(group) for name, group in sorted(groups.items())}


def summary(by_workload: dict[str, Table], steps_up: int) -> str:
    """Percent above tuned linear warm-up, by method and workload, with mean and worst."""
    methods = list(dict.fromkeys(m for t in by_workload.values() for m in t.methods))
    lines = ["| | " + " | ".join(by_workload) + " | mean | worst |"]
    lines.append("|---" * (len(by_workload) + 3) + "|")
    for method in methods:
        values = [table.excess(method, steps_up) for table in by_workload.values()]
        there = [value for value in values if value is not None]
        if not there:
            continue
        cells = ["" if value is None else f"{value:+.2f}" for value in values]
        ends = f"{statistics.mean(there):+.2f} | {max(there):+.2f}"
        lines.append(f"| {method} | {' | '.join(cells)} | {ends} |")
    return "\n".join(lines)


def draw(name: str, table: Table, path: Path) -> None:
    """Loss against the peak rate, one line for each method."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for index, method in enumerate(table.methods):
        points = [(r, table.means[method, r]) for r in table.rates if (method, r) in table.means]
        style = {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": DASHES[index // len(COLOURS) % len(DASHES)],
        }
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=method, **style)
    trivial = table.records[0]["trivial_loss"]
    axes.axhline(trivial, color="0.6", linewidth=1, linestyle=":", label="trivial predictor")
    lowest = min(table.means.values())
    axes.set(xscale="log", xlabel="peak learning rate", ylabel="held-out loss", title=name)
    if trivial > 4 * lowest > 0:
        axes.set_yscale("log")
    axes.legend(fontsize=7, ncols=2)
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110)


def write_report(study: str, folder: Path) -> Path:
    """Writes `REPORT.md` and a figure for each workload into `folder`.

    Raises:
        InputError: If there are no results.
    """
    found = records.read(folder)
    if not found:
        raise InputError(f"There are no results there. Received: {folder}")
    by_workload = tables(found)
    parts = [f"# Study `{study}`", _about(found)]
    if any(table.reference() for table in by_workload.values()):
        parts += [
            "## Each at its own best rate",
            "Held-out loss, in percent above linear warm-up with the best length and rate.",
            summary(by_workload, 0),
            "## At the next rate of the grid above the best one of linear warm-up",
            "In percent above linear warm-up with the best length *at that rate*.",
            summary(by_workload, 1),
        ]
    for name, table in by_workload.items():
        first = table.records[0]
        counts = sorted({table.seeds[key] for key in table.seeds})
        cost = statistics.median(r["processor_seconds"] for r in table.records)
        parts += [
            f"## {name}",
            f"Loss before training {loss(first['initial_loss'])}, trivial predictor "
            f"{loss(first['trivial_loss'])}, {first['identity']['updates']} updates, "
            f"{cost:.1f} s of a processor a trial (median). "
            f"Mean held-out loss of {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))}"
            " seeds by peak rate; † counts runs that diverged.",
            table.markdown(),
            f"![Loss against peak rate]({name}.png)",
        ]
        draw(name, table, folder / f"{name}.png")
    path = folder / "REPORT.md"
    with atomic(path) as partial:
        partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _about(found: list[dict[str, Any]]) -> str:
    """Where the numbers come from."""
    environments = [record["environment"] for record in found]
    processors = sorted({e["processor"] for e in environments})
    versions = sorted({str(e["versions"]) for e in environments})
    diverged = sum(record["diverged"] for record in found)
    minutes = sum(record["seconds"] for record in found) / 60
    return (
        f"{len(found)} trials, {diverged} of them diverged (they count as the trivial predictor), "
        f"{minutes:.0f} minutes of computing. Processor: {', '.join(processors)}. "
        f"Versions: {'; '.join(versions)}."
    )
