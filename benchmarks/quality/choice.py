"""The protocol's rule of choice, from the results alone."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality import records
from benchmarks.quality.report import Table

CUT = 20.0
"""Percent: no number of a cost counts for more, or for less than its negative."""

WHERE = {0: "best", 1: "above", 2: "two above"}
"""Names of `Study.places`."""


def costs(
    folder: Path, places: Sequence[int]
) -> tuple[dict[str, dict[str, tuple[float, ...]]], list[str]]:
    """By method and workload, the numbers of the cost in percent, each cut off.

    A number is left out where the grid ends below its rate.

    Args:
        folder: Of the study.
        places: The study's.

    Returns:
        The numbers of the methods that have all trials, and the names of those that have not: a
        cost without some of its numbers could be a low one.
    """
    found = records.read(folder)
    names = sorted({record["identity"]["workload"] for record in found})
    tables = {n: Table([r for r in found if r["identity"]["workload"] == n]) for n in names}
    result, missing = {}, []
    for method in dict.fromkeys(m for table in tables.values() for m in table.methods):
        if not all(_complete(table, method) for table in tables.values()):
            missing.append(method)
            continue
        numbers = {n: [t.excess(method, place) for place in places] for n, t in tables.items()}
        result[method] = {
            name: tuple(max(-CUT, min(CUT, number)) for number in several if number is not None)
            for name, several in numbers.items()
        }
    return result, missing


def _complete(table: Table, method: str) -> bool:
    """Whether the method has each rate with as many seeds as any method has somewhere."""
    seeds = max(table.seeds.values())
    return all(table.seeds.get((method, rate)) == seeds for rate in table.rates)


def ranking(folder: Path, places: Sequence[int]) -> str:
    """A table of all methods, the least cost first, and which ones are not complete."""
    result, missing = costs(folder, places)
    total = {
        method: statistics.mean(sum(several) for several in by_workload.values())
        for method, by_workload in result.items()
    }
    workloads = sorted({name for by_workload in result.values() for name in by_workload})
    where = ", ".join(WHERE[place] for place in places)
    head = " | ".join(f"{name}: {where}" for name in workloads)
    lines = [f"| method | {head} | cost |", "|---" * (len(workloads) + 2) + "|"]
    for method in sorted(total, key=total.get):
        cells = [", ".join(f"{n:+.2f}" for n in result[method][name]) for name in workloads]
        lines.append(f"| {method} | {' | '.join(cells)} | {total[method]:+.2f} |")
    if missing:
        lines += ["", f"Trials are missing, so without a cost: {', '.join(missing)}"]
    return "\n".join(lines)
