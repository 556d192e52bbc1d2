"""What the README says of the study `evidence`: a sentence, a table and a figure, from its records.

They stand between two comments each, so that `python -m benchmarks.quality report evidence` can
write them anew and a test can see that nobody else did.
"""

import re
from pathlib import Path

from benchmarks.quality.evidence_report.figures import draw_summary
from benchmarks.quality.evidence_report.rows import PLACES, ROWS, SELF_TUNED
from benchmarks.quality.measures import Group, Interval, Measures, over_workloads
from benchmarks.quality.methods import LINEAR
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic

COMPARED = ("linear, best length", "linear 10%", "untuned linear", "none")
"""Rows of the table."""


def at_best_rates(measures: Measures, group: Group, reference: Group) -> Interval | None:
    """Percent above the reference, each at its own best rate, the mean over the workloads."""
    found = [measures.compare(name, group, reference) for name in measures.workloads]
    return over_workloads(interval.mean for interval in found if interval is not None)


def at_high_rates(
    measures: Measures, group: Group, reference: Group, places: tuple[int, ...]
) -> Interval | None:
    """The same at rates so many places of the grid above tuned linear warm-up's best one."""
    found = [
        measures.too_high(name, group, reference, place)
        for name in measures.workloads
        for place in places
    ]
    return over_workloads(excess for excess in found if excess is not None)


def _words(interval: Interval) -> tuple[str, str]:
    """`0.1% above`, and the interval in brackets where it has ends."""
    side = "below" if interval.mean < 0 else "above"
    ends = f" (95% interval {interval.low:+.1f} to {interval.high:+.1f}%)"
    return f"{abs(interval.mean):.1f}% {side}", ends if interval.low == interval.low else ""


def sentence(measures: Measures) -> str:
    """The README's first sentence.

    Raises:
        InputError: If no workload is complete.
    """
    best = at_best_rates(measures, SELF_TUNED, LINEAR)
    high = at_high_rates(measures, SELF_TUNED, LINEAR, PLACES)
    if best is None or high is None:
        raise InputError(f"There are no complete workloads. Received: {measures.folder}")
    (best_side, best_ends), (high_side, high_ends) = _words(best), _words(high)
    return (
        "Learning rates that follow the loss, for Keras 3 on TensorFlow, JAX and PyTorch: on "
        f"{len(measures.workloads)} small workloads, with nothing tuned but the peak rate, the "
        f"final loss is {best_side} that of a linear warm-up whose length was tuned for each"
        f"{best_ends}, and {high_side} it at peak rates 3 and 10 times too high{high_ends}."
    )


def table(measures: Measures) -> str:
    """The self-tuned rule against each of `COMPARED`."""
    lines = [
        "| held-out loss of the self-tuned rule, in percent above that of | each at its best rate "
        "| at 3 times the best rate | at 10 times |",
        "|---|---|---|---|",
    ]
    for label in COMPARED:
        cells = [at_best_rates(measures, SELF_TUNED, ROWS[label])]
        cells += [at_high_rates(measures, SELF_TUNED, ROWS[label], (place,)) for place in PLACES]
        written = ["" if cell is None else str(cell) for cell in cells]
        lines.append(f"| {label} | {' | '.join(written)} |")
    lines += [
        "",
        "Mean over the workloads, each cut off at 20%, and 95% interval by bootstrap over them; "
        "below 0 is better. The best rate in the last two columns is that of the tuned linear "
        "warm-up, and a tuned length is the best one at that rate.",
    ]
    return "\n".join(lines)


def replaced(text: str, blocks: dict[str, str], received: str) -> str:
    """The text with what stands between `<!-- NAME -->` and `<!-- end of NAME -->` replaced.

    Raises:
        InputError: If a pair of comments is not there once.
    """
    for name, content in blocks.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)"
        text, count = re.subn(pattern, lambda m, c=content: m[1] + c + m[2], text, flags=re.DOTALL)
        if count != 1:
            raise InputError(
                f"There has to be one pair of the comments <!-- {name} --> and <!-- end of {name} "
                f"-->. Received: {count} in {received}"
            )
    return text


def blocks(measures: Measures) -> dict[str, str]:
    """By the name of its comments, each part of the README that the study writes."""
    return {"evidence: sentence": sentence(measures), "evidence: table": table(measures)}


def write_summary(measures: Measures, page: Path, figure: Path) -> None:
    """Writes the parts into the page, and the figure."""
    text = replaced(page.read_text(encoding="utf-8"), blocks(measures), str(page))
    draw_summary(measures, figure)
    with atomic(page) as partial:
        partial.write_text(text, encoding="utf-8")
