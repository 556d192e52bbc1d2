"""The protocol's rule of choice, from the results alone."""

import statistics
from pathlib import Path

from benchmarks.quality import records
from benchmarks.quality.report import Table

CUT = 20.0
"""Percent: no number of a cost counts for more, or for less than its negative."""

PLACES, PLACES_AGAIN = (0, 1), (0, 1, 2)
"""How far above tuned linear warm-up's best rate the numbers are; 0: each at its own best rate."""

AGAIN = ("develop-again", "choose-again")
"""The studies of the second round of development."""


def costs(folder: Path) -> dict[str, dict[str, tuple[float, ...]]]:
    """By method and workload, the numbers of the cost in percent, each cut off.

    Only methods that every workload of the study has. A number two places above the best rate is
    left out where the grid ends below it.
    """
    found = records.read(folder)
    names = sorted({record["identity"]["workload"] for record in found})
    tables = {n: Table([r for r in found if r["identity"]["workload"] == n]) for n in names}
    methods = set.intersection(*(set(table.methods) for table in tables.values()))
    places = PLACES_AGAIN if folder.name in AGAIN else PLACES
    result = {}
    for method in methods:
        numbers = {
            name: [table.excess(method, place) for place in places]
            for name, table in tables.items()
        }
        if any(None in several[: len(PLACES)] for several in numbers.values()):
            continue
        result[method] = {
            name: tuple(max(-CUT, min(CUT, number)) for number in several if number is not None)
            for name, several in numbers.items()
        }
    return result


def ranking(folder: Path) -> str:
    """A table of all methods, the least cost first."""
    result = costs(folder)
    total = {
        method: statistics.mean(sum(several) for several in by_workload.values())
        for method, by_workload in result.items()
    }
    workloads = sorted({name for by_workload in result.values() for name in by_workload})
    head = " | ".join(f"{name}: best, above" for name in workloads)
    lines = [f"| method | {head} | cost |", "|---" * (len(workloads) + 2) + "|"]
    for method in sorted(total, key=total.get):
        cells = [", ".join(f"{n:+.2f}" for n in result[method][name]) for name in workloads]
        lines.append(f"| {method} | {' | '.join(cells)} | {total[method]:+.2f} |")
    return "\n".join(lines)
