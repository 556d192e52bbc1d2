"""`RESULTS.md`: tables and figures of the study `evidence` and its situations, from the records."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.quality import evidence
from benchmarks.quality.measures import Group, Interval, Measures, over_workloads, t_interval
from benchmarks.quality.methods import (
    ADAPTIVE_GD,
    LINEAR,
    LINEAR_AGAIN,
    MOMO_ADAM,
    NGN_MD,
    NONE,
    NORM_CONSTRAINED,
    PAPER,
    RADAM,
    SCHEDULE_FREE,
    UNTUNED,
)
from benchmarks.quality.rounds import SEEDS_C, Results
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic
from recipes.common.results.formatting import loss
from recipes.common.results.plots import COLOURS, DASHES

SELF_TUNED: Group = (evidence.SELF_TUNED,)

TUNED: dict[str, Group] = {
    "linear, best length": LINEAR,
    "the paper's rule, best C": PAPER,
    "norm-constrained, best gap": NORM_CONSTRAINED,
}
UNTUNED_ROWS: dict[str, Group] = {
    "none": (NONE,),
    "linear 10%": (LINEAR[1],),
    "untuned linear": (UNTUNED,),
    "RAdam's factor": (RADAM,),
    "self-tuned rule": SELF_TUNED,
    "Schedule-Free": (SCHEDULE_FREE,),
    "MoMo-Adam": (MOMO_ADAM,),
    "NGN-MD": (NGN_MD,),
    "AdaptiveGD": (ADAPTIVE_GD,),
}
ROWS = TUNED | UNTUNED_ROWS

WORSE = 0.5
"""Percent: by more than that the self-tuned rule should be worse on no workload."""

PLACES = (1, 2)
"""Of the grid: peak rates that are about 3 and 10 times too high."""


def write_report(study: str, folder: Path, path: Path) -> Path:
    """Writes the report to `path` and its figures beside it.

    Args:
        study: `"evidence"` or `"evidence-gpu"`.
        folder: Records of `evidence`; those of `situations` and `transfer` are beside it.
        path: Of the Markdown file.

    Raises:
        InputError: If there are no records.
    """
    subset = study.removeprefix("evidence")
    measures = Measures(evidence.EVIDENCE_GPU if subset else evidence.EVIDENCE, folder)
    if not measures.records:
        raise InputError(f"There are no results there. Received: {folder}")
    situations = Measures(evidence.SITUATIONS, folder.parent / f"situations{subset}")
    transfer = folder.parent / f"transfer{subset}"
    figures = path.parent / f"{path.stem.lower()}-figures"
    draw_curves(measures, figures / "rates.png")
    draw_profile(measures, figures / "profile.png")
    parts = [
        "# Results",
        _about(measures, situations),
        "## Headlines",
        *_headlines(measures),
        "### 3. Situations",
        *_situations(measures, situations, transfer),
        "## All methods, each at its best rate",
        "Held-out loss, mean over the seeds of rounds A and B; `†` where the rounds are not "
        "complete for the method. The upper rows are tuned; the lower ones have one setting for "
        "all workloads, and only the rate is chosen.",
        _losses(measures),
        f"![Loss against peak rate]({figures.name}/rates.png)",
        "Share of workloads where a method is within a factor of the best one:",
        f"![Performance profile]({figures.name}/profile.png)",
        "## Sensitivity to the rate",
        "Area between the curve of loss against the logarithm of the rate and its minimum, "
        "round A; 0 is best.",
        _table(measures, lambda name, group: measures.sensitivity(name, group), "{:.3f}"),
        "## Largest stable rate",
        _table(measures, lambda name, group: measures.largest_stable_rate(name, group), "{:g}"),
        "## Steps to the target",
        "In percent of the run; `+k` counts the runs that did not get there, which count as 100.",
        _table(measures, lambda name, group: measures.steps_to_target(name, group), _steps),
        "Processor seconds to it. They were taken beside other work unless stated, so they rank "
        "methods only where they differ by much:",
        _table(measures, lambda name, group: measures.seconds_to_target(name, group), "{:.1f}"),
        "## Divergences in round A",
        _divergences(measures),
        "## What is not shown",
        "Networks beyond those of seconds on one processor; training for many epochs; other "
        "optimizers than AdamW and SGD; several devices; other final decays than a linear one over "
        "the last fifth. The best constants of tuned methods were chosen on seeds 0 to 2 and are "
        "compared on seeds that include these. Intervals over seeds are for these data and "
        "networks alone, and no correction is made for the number of comparisons.",
    ]
    with atomic(path) as partial:
        partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _about(measures: Measures, situations: Measures) -> str:
    found = measures.records + situations.records
    processors = sorted({record["environment"]["processor"] for record in found})
    versions = sorted({str(record["environment"]["versions"]) for record in found})
    hours = sum(record["processor_seconds"] for record in found) / 3600
    diverged = sum(record["diverged"] for record in found)
    seeds = sorted({record["identity"]["seed"] for record in found})
    return (
        f"From {len(found)} trials with {len(measures.workloads)} workloads, seeds "
        f"{', '.join(map(str, seeds))}; {diverged} diverged and count as the trivial predictor. "
        f"{hours:.1f} hours of a processor. Processor: {', '.join(processors)}. "
        f"Versions: {'; '.join(versions)}. How, and what was decided beforehand: "
        "`benchmarks/quality/PROTOCOL.md`. Written by "
        "`python -m benchmarks.quality report evidence`."
    )


def _headlines(measures: Measures) -> list[str]:
    parts = ["### 1. The tuned rule against tuned linear warm-up"]
    parts += _comparison(measures, PAPER, LINEAR)
    parts += ["### 2. The self-tuned rule against untuned linear warm-up"]
    parts += _comparison(measures, SELF_TUNED, (UNTUNED,), aim=True)
    parts += ["and against linear warm-up over 10%"]
    parts += _comparison(measures, SELF_TUNED, (LINEAR[1],), aim=True)
    return parts


def _comparison(measures: Measures, group: Group, reference: Group, aim: bool = False) -> list[str]:
    """A table of paired differences, and a sentence on all of them."""
    found = {name: measures.compare(name, group, reference) for name in measures.workloads}
    found = {name: interval for name, interval in found.items() if interval is not None}
    if not found:
        return ["No results yet."]
    above = {name: measures.above(name, group, reference) for name in found}
    lines = ["| workload | percent, 95% interval | seeds | at the next rate above | seeds |"]
    lines.append("|---" * 5 + "|")
    for name, interval in found.items():
        there = above[name]
        cells = (" ", " ") if there is None else (there, there.count)
        lines.append(f"| {name} | {interval} | {interval.count} | {cells[0]} | {cells[1]} |")
    everywhere = over_workloads(interval.mean for interval in found.values())
    sentence = (
        "Below 0 is better; the next rate is the one above the second method's best, for both. "
        f"Over {len(found)} workloads: {everywhere}%, {verdict(everywhere)}; "
        f"better on {sum(i.mean < 0 for i in found.values())}, of these "
        f"{sum(i.high < 0 for i in found.values())} with an interval below 0; worse on "
        f"{sum(i.mean > 0 for i in found.values())}, of these "
        f"{sum(i.low > 0 for i in found.values())} with an interval above 0."
    )
    if aim:
        better = sum(interval.mean < 0 for interval in found.values())
        worse = [name for name, interval in found.items() if interval.mean > WORSE]
        met = 2 * better >= len(found) and not worse
        sentence += (
            f" The aim, better on half of them and worse by more than {WORSE}% on none, is "
            f"{'met' if met else 'not met'}" + (f": worse on {', '.join(worse)}." if worse else ".")
        )
    if any(interval.count < len(SEEDS_C) for interval in found.values()):
        sentence += " **Not final: not all of the five seeds are there.**"
    return ["\n".join(lines), sentence]


def verdict(interval: Interval) -> str:
    """What an interval of a difference says; below 0 is better."""
    if interval.high < 0.0:
        return "better"
    return "worse" if interval.low > 0.0 else "no difference shown"


def _situations(measures: Measures, situations: Measures, transfer: Path) -> list[str]:
    numbers: dict[str, tuple[Interval | None, str]] = {}
    by_change = transfer_differences(transfer)
    changes = len(evidence.TRANSFER.workloads) - 1
    over = f"{len(by_change)} of {changes} changes of size"
    numbers["a. transfer"] = over_workloads(by_change.values()), over
    numbers["b. new data"] = _mean_of(situations, ["new_data"])
    numbers["c. corrupted batches"] = _mean_of(situations, evidence.CORRUPTED)
    excess = [
        measures.too_high(name, SELF_TUNED, LINEAR, places)
        for name in measures.workloads
        for places in PLACES
    ]
    excess = [value for value in excess if value is not None]
    numbers["d. a rate too high"] = over_workloads(excess), "workloads at 3 and 10 times the rate"
    numbers["e. lost state, fine-tuning"] = _mean_of(situations, ["lost_state", "fine_tuning"])
    lines = ["| situation | percent, 95% interval | over | |", "|---|---|---|---|"]
    for name, (interval, over) in numbers.items():
        if interval is None:
            lines.append(f"| {name} | | {over} | no results yet |")
        else:
            lines.append(f"| {name} | {interval} | {over} | {verdict(interval)} |")
    known = [interval for interval, _ in numbers.values() if interval is not None]
    better = sum(interval.mean < 0 for interval in known)
    parts = [
        "The self-tuned rule against tuned linear warm-up; below 0 is better.",
        "\n".join(lines),
        f"Below 0 in {better} of {len(known)}. The aim is three of five"
        + (f": {'met' if better >= 3 else 'not met'}." if len(known) == 5 else "."),
    ]
    if by_change:
        parts.append(_two_columns("a. Change of `gpt_code`", by_change))
    rows = {
        "self-tuned rule": SELF_TUNED,
        "the paper's rule, best C": PAPER,
        "untuned linear": (UNTUNED,),
        "none": (NONE,),
        "linear, again after the change": (LINEAR_AGAIN,),
        "self-tuned rule with the spike guard": (evidence.GUARDED,),
    }
    for name in situations.workloads:
        compared = {label: situations.compare(name, group, LINEAR) for label, group in rows.items()}
        compared = {label: interval for label, interval in compared.items() if interval is not None}
        if compared:
            parts.append(_two_columns(f"`{name}` against tuned linear warm-up", compared))
    other = _other_losses(situations, {"linear, best length": LINEAR, **rows})
    return parts + other


def _mean_of(situations: Measures, names: Sequence[str]) -> tuple[Interval | None, str]:
    """The mean of the workloads' paired differences, seed by seed, and what it is over."""
    by_seed: list[dict[int, float]] = []
    for name in names:
        picks = situations.pick(name, SELF_TUNED), situations.pick(name, LINEAR)
        if name not in situations.workloads or None in picks:
            continue
        one, other = (situations.scores(name, *pick) for pick in picks)
        seeds = sorted(set(one) & set(other))
        unit = statistics.fmean(other[seed] for seed in seeds) / 100
        by_seed.append({seed: (one[seed] - other[seed]) / unit for seed in seeds})
    if not by_seed:
        return None, ", ".join(names)
    seeds = sorted(set.intersection(*map(set, by_seed)))
    means = [statistics.fmean(values[seed] for values in by_seed) for seed in seeds]
    return t_interval(means), f"{len(by_seed)} of {len(names)} workloads, {len(seeds)} seeds"


def _other_losses(situations: Measures, rows: dict[str, Group]) -> list[str]:
    """Loss on what the second half of `new_data` no longer shows."""
    name, losses = "new_data", {}
    for label, group in rows.items():
        pick = situations.pick(name, group) if name in situations.workloads else None
        if pick is None:
            continue
        keys = [(name, pick[0].name, pick[1], seed) for seed in SEEDS_C]
        found = [
            situations.by_key[key]["other_final_loss"] for key in keys if key in situations.by_key
        ]
        if found and None not in found:
            losses[label] = loss(statistics.fmean(found))
    return [_two_columns("b. Loss on code at the end of `new_data`", losses)] if losses else []


def transfer_differences(folder: Path) -> dict[str, float]:
    """By change of size, percent of the self-tuned rule above linear warm-up, the seeds' mean."""
    results = Results(folder)
    means: dict[str, float] = {}
    by_method: dict[tuple[str, str], dict[int, float]] = {}
    for (name, method, _, seed), score in results.scores.items():
        by_method.setdefault((name, method.partition("-steps")[0]), {})[seed] = score
    for name in evidence.TRANSFER.workloads[1:]:
        one, other = (by_method.get((name, m), {}) for m in ("self-tuned", "linear"))
        seeds = sorted(set(one) & set(other))
        if seeds:
            reference = statistics.fmean(other[seed] for seed in seeds)
            difference = statistics.fmean(one[seed] - other[seed] for seed in seeds)
            means[name.partition("@")[2]] = 100 * difference / reference
    return means


def _two_columns(title: str, values: dict) -> str:
    lines = [f"| {title} | |", "|---|---|"]
    return "\n".join(
        lines
        + [f"| {k} | {v if not isinstance(v, float) else f'{v:+.2f}'} |" for k, v in values.items()]
    )


def _table(
    measures: Measures,
    value: Callable[[str, Group], object],
    form: str | Callable[[object], str],
) -> str:
    """Methods by workloads."""
    write = form.format if isinstance(form, str) else form
    lines = ["| | " + " | ".join(measures.workloads) + " |"]
    lines.append("|---" * (len(measures.workloads) + 1) + "|")
    for label, group in ROWS.items():
        cells = [value(name, group) for name in measures.workloads]
        if any(cell is not None for cell in cells):
            written = ["" if cell is None else write(cell) for cell in cells]
            lines.append(f"| {label} | {' | '.join(written)} |")
    return "\n".join(lines)


def _losses(measures: Measures) -> str:
    def cell(name, group):
        mean = measures.mean(name, group)
        if mean is None:
            return None
        complete = measures.study.chosen(name, group, measures.results) is not None
        return loss(mean) + ("" if complete else " †")

    return _table(measures, cell, "{}")


def _steps(value: tuple[float, int]) -> str:
    steps, missed = value
    return f"{steps:.0f}" + (f" +{missed}" if missed else "")


def _divergences(measures: Measures) -> str:
    counts = {label: measures.divergences(group) for label, group in ROWS.items()}
    lines = ["| | diverged | of |", "|---|---|---|"]
    lines += [f"| {label} | {k} | {n} |" for label, (k, n) in counts.items() if n]
    return "\n".join(lines)


_DRAWN = (
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
        for index, label in enumerate(_DRAWN):
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


def _save(figure: Figure, path: Path) -> None:
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110)
