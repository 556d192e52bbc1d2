"""Parts of the report's tables."""

from collections.abc import Callable

from benchmarks.quality.evidence_report.rows import ROWS
from benchmarks.quality.measures import Group, Interval, Measures
from recipes.common.results.formatting import loss


def verdict(interval: Interval) -> str:
    """What an interval of a difference says; below 0 is better."""
    if interval.high < 0.0:
        return "better"
    return "worse" if interval.low > 0.0 else "no difference shown"


def workloads_table(measures: Measures) -> str:
    """What the workloads are, and how far their loss falls."""
    lines = ["| workload | updates | loss before training | trivial predictor | lowest loss |"]
    lines.append("|---" * 5 + "|")
    for name in measures.workloads:
        record = measures.first(name)
        trivial = record["trivial_loss"]
        numbers = (record["initial_loss"], trivial, trivial - measures.room(name))
        cells = " | ".join(loss(number) for number in numbers)
        lines.append(f"| {name} | {record['identity']['updates']} | {cells} |")
    return "\n".join(lines)


def two_columns(title: str, values: dict) -> str:
    """Labels and values; numbers are differences, written with their sign."""
    lines = [f"| {title} | |", "|---|---|"]
    return "\n".join(
        lines
        + [f"| {k} | {v if not isinstance(v, float) else f'{v:+.2f}'} |" for k, v in values.items()]
    )


def methods_by_workloads(
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
