"""The protocol's rule of choice, from the results alone."""

import statistics
from pathlib import Path

from benchmarks.quality import records
from benchmarks.quality.report import Table

CUT = 20.0
"""Percent: no number of a cost counts for more, or for less than its negative."""


def costs(folder: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """By method and workload, the two numbers of the cost in percent, each cut off.

    Only methods that every workload of the study has.
    """
    found = records.read(folder)
    names = sorted({record["identity"]["workload"] for record in found})
    tables = {n: Table([r for r in found if r["identity"]["workload"] == n]) for n in names}
    methods = set.intersection(*(set(table.methods) for table in tables.values()))
    result = {}
    for method in methods:
        numbers = {
            name: (table.excess(method), table.excess(method, 1)) for name, table in tables.items()
        }
        if not any(None in pair for pair in numbers.values()):
            result[method] = {
                name: tuple(max(-CUT, min(CUT, number)) for number in pair)
                for name, pair in numbers.items()
            }
    return result


def ranking(folder: Path) -> str:
    """A table of all methods, the least cost first."""
    result = costs(folder)
    total = {
        method: statistics.mean(sum(pair) for pair in pairs.values())
        for method, pairs in result.items()
    }
    workloads = sorted({name for pairs in result.values() for name in pairs})
    head = " | ".join(f"{name}: best, above" for name in workloads)
    lines = [f"| method | {head} | cost |", "|---" * (len(workloads) + 2) + "|"]
    for method in sorted(total, key=total.get):
        cells = [f"{a:+.2f}, {b:+.2f}" for a, b in (result[method][n] for n in workloads)]
        lines.append(f"| {method} | {' | '.join(cells)} | {total[method]:+.2f} |")
    return "\n".join(lines)
