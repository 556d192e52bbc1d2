"""The situations for which a rate that sees the loss is made, in the report of `evidence`."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality import evidence
from benchmarks.quality.evidence_report.rows import PLACES, SELF_TUNED
from benchmarks.quality.evidence_report.tables import two_columns, verdict
from benchmarks.quality.measures import Group, Interval, Measures, over_workloads, t_interval
from benchmarks.quality.methods import LINEAR, LINEAR_AGAIN, NONE, PAPER, UNTUNED
from benchmarks.quality.rounds import SEEDS_C, Results
from recipes.common.results.formatting import loss

AIM = 3
"""Of the five situations in so many the self-tuned rule should be better."""

Numbers = dict[str, tuple[Interval | None, str]]


def situation_numbers(measures: Measures, situations: Measures, transfer: Path) -> Numbers:
    """By situation, percent above tuned linear warm-up and what it is a mean over."""
    by_change = transfer_differences(transfer)
    changes = len(evidence.TRANSFER.workloads) - 1
    excess = [
        measures.too_high(name, SELF_TUNED, LINEAR, places)
        for name in measures.workloads
        for places in PLACES
    ]
    excess = [value for value in excess if value is not None]
    return {
        "a. transfer": (
            over_workloads(by_change.values()),
            f"{len(by_change)} of {changes} changes of size",
        ),
        "b. new data": _mean_of(situations, ["new_data"]),
        "c. corrupted batches": _mean_of(situations, evidence.CORRUPTED),
        "d. a rate too high": (over_workloads(excess), "workloads at 3 and 10 times the rate"),
        "e. lost state, fine-tuning": _mean_of(situations, ["lost_state", "fine_tuning"]),
    }


def aim(numbers: Numbers) -> str:
    """A sentence on how many of the situations are better, and whether that was the aim."""
    known = [interval for interval, _ in numbers.values() if interval is not None]
    better = sum(interval.mean < 0 for interval in known)
    met = f": {'met' if better >= AIM else 'not met'}" if len(known) == len(numbers) else ""
    return f"Below 0 in {better} of {len(known)}. The aim is three of five{met}."


def parts(measures: Measures, situations: Measures, transfer: Path) -> list[str]:
    """The tables of the report."""
    numbers = situation_numbers(measures, situations, transfer)
    lines = ["| situation | percent, 95% interval | over | |", "|---|---|---|---|"]
    for name, (interval, over) in numbers.items():
        if interval is None:
            lines.append(f"| {name} | | {over} | no results yet |")
        else:
            lines.append(f"| {name} | {interval} | {over} | {verdict(interval)} |")
    found = [
        "The self-tuned rule against tuned linear warm-up; below 0 is better.",
        "\n".join(lines),
        aim(numbers),
    ]
    by_change = transfer_differences(transfer)
    if by_change:
        found.append(two_columns("a. Change of `gpt_code`", by_change))
    rows = {
        "self-tuned rule": SELF_TUNED,
        "with a retreat": (evidence.RETREATING,),
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
            found.append(two_columns(f"`{name}` against tuned linear warm-up", compared))
    other = _other_losses(situations, {"linear, best length": LINEAR, **rows})
    return found + other


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
    return [two_columns("b. Loss on code at the end of `new_data`", losses)] if losses else []


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
