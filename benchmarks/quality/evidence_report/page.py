"""`RESULTS.md`: tables and figures of the study `evidence` and its situations, from the records."""

from pathlib import Path

from benchmarks.quality import evidence
from benchmarks.quality.evidence_report import situations as situations_page
from benchmarks.quality.evidence_report.figures import draw_curves, draw_profile
from benchmarks.quality.evidence_report.rows import ROWS, SELF_TUNED
from benchmarks.quality.evidence_report.tables import (
    methods_by_workloads,
    verdict,
    workloads_table,
)
from benchmarks.quality.measures import Group, Measures, over_workloads
from benchmarks.quality.methods import LINEAR, PAPER, UNTUNED
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic
from recipes.common.results.formatting import loss

WORSE = 0.5
"""Percent: by more than that the self-tuned rule should be worse on no workload."""


def write_report(study: str, folder: Path, path: Path) -> Path:
    """Writes the report to `path` and its figures beside it.

    Args:
        study: `"evidence"` or `"evidence-gpu"`.
        folder: Records of `evidence`; those of `situations` and `transfer` are beside it.
        path: Of the Markdown file.

    Raises:
        InputError: If the rounds of the headline methods are complete on no workload.
    """
    subset = study.removeprefix("evidence")
    every = Measures(evidence.EVIDENCE_GPU if subset else evidence.EVIDENCE, folder)
    measures = every.finished()
    if not measures.records:
        raise InputError(
            "On no workload are the rounds of the headline methods complete. "
            f"Received: {len(every.records)} records in {folder}"
        )
    situations = Measures(evidence.SITUATIONS, folder.parent / f"situations{subset}").finished()
    transfer = folder.parent / f"transfer{subset}"
    figures = path.parent / f"{path.stem.lower()}-figures"
    draw_curves(measures, figures / "rates.png")
    draw_profile(measures, figures / "profile.png")
    parts = [
        "# Results",
        _about(measures, situations),
        *_not_complete(every, measures),
        "## Headlines",
        *_headlines(measures),
        "### 3. Situations",
        *situations_page.parts(measures, situations, transfer),
        "## Workloads",
        "Held-out loss; the lowest is that of any method and rate in round A, seed 0.",
        workloads_table(measures),
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
        methods_by_workloads(
            measures, lambda name, group: measures.sensitivity(name, group), "{:.3f}"
        ),
        "## Largest stable rate",
        methods_by_workloads(
            measures, lambda name, group: measures.largest_stable_rate(name, group), "{:g}"
        ),
        "## Steps to the target",
        "In percent of the run; `+k` counts the runs that did not get there, which count as 100.",
        methods_by_workloads(
            measures, lambda name, group: measures.steps_to_target(name, group), _steps
        ),
        "Processor seconds to it. They were taken beside other work unless stated, so they rank "
        "methods only where they differ by much:",
        methods_by_workloads(
            measures, lambda name, group: measures.seconds_to_target(name, group), "{:.1f}"
        ),
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
    names = measures.workloads
    return (
        f"From {len(found)} trials on {len(names)} {_counted(names)}, seeds "
        f"{', '.join(map(str, seeds))}. Trials that diverged: {diverged}; they count as the "
        "trivial predictor. "
        f"{hours:.1f} hours of a processor. Processor: {', '.join(processors)}. "
        f"Versions: {'; '.join(versions)}. How, and what was decided beforehand: "
        "`benchmarks/quality/PROTOCOL.md`. Written by "
        "`python -m benchmarks.quality report evidence`."
    )


def _not_complete(every: Measures, measures: Measures) -> list[str]:
    """Which workloads the report is not about yet."""
    missing = [f"`{n}`" for n in every.study.workloads if n not in measures.workloads]
    if not missing:
        return []
    return [
        f"**The study goes on**: {', '.join(missing)} are not complete for the headline methods "
        "and are not in this report."
    ]


def _headlines(measures: Measures) -> list[str]:
    parts = ["### 1. The tuned rule against tuned linear warm-up"]
    parts += _comparison(measures, PAPER, LINEAR)
    parts += ["### 2. The self-tuned rule against untuned linear warm-up"]
    parts += _comparison(measures, SELF_TUNED, (UNTUNED,), aim=True)
    parts += ["and against linear warm-up over 10%"]
    parts += _comparison(measures, SELF_TUNED, (LINEAR[1],), aim=True)
    parts += ["and, which is no headline, against tuned linear warm-up"]
    parts += _comparison(measures, SELF_TUNED, LINEAR)
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
        f"Over {len(found)} {_counted(found)}: {everywhere}%, {verdict(everywhere)}; "
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
    return ["\n".join(lines), sentence]


def _counted(workloads) -> str:
    return "workload" if len(workloads) == 1 else "workloads"


def _losses(measures: Measures) -> str:
    def cell(name, group):
        mean = measures.mean(name, group)
        if mean is None:
            return None
        complete = measures.study.chosen(name, group, measures.results) is not None
        return loss(mean) + ("" if complete else " †")

    return methods_by_workloads(measures, cell, "{}")


def _steps(value: tuple[float, int]) -> str:
    steps, missed = value
    return f"{steps:.0f}" + (f" +{missed}" if missed else "")


def _divergences(measures: Measures) -> str:
    counts = {label: measures.divergences(group) for label, group in ROWS.items()}
    lines = ["| | diverged | of |", "|---|---|---|"]
    lines += [f"| {label} | {k} | {n} |" for label, (k, n) in counts.items() if n]
    return "\n".join(lines)
