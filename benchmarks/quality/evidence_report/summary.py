"""What the README and the page of evidence say of the study: a sentence, a table and a figure.

They stand between two comments each, so that `python -m benchmarks.quality report evidence` can
write them anew and a test can see that nobody else did.
"""

import re
from pathlib import Path

from benchmarks.quality.evidence_report.figures import DRAWN, draw_summary
from benchmarks.quality.evidence_report.rows import PLACES, ROWS, SELF_TUNED
from benchmarks.quality.measures import Group, Interval, Measures, over_workloads
from benchmarks.quality.methods import LINEAR
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic

SENTENCE, TABLE, SHARES = (f"evidence: {part}" for part in ("sentence", "table", "shares"))
PAGES = {"README.md": (SENTENCE, TABLE), "docs/evidence.md": (TABLE, SHARES)}
"""The parts that each page has."""

FIGURE = "docs/figures/evidence.png"

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


def shares(measures: Measures) -> str:
    """What the peak rate costs each method."""
    places = (-1, 0, *PLACES)
    lines = [
        "| share of the way from the lowest loss to the trivial predictor | a third of the best "
        "rate | the best rate | 3 times it | 10 times it |",
        "|---|---|---|---|---|",
    ]
    for label in DRAWN:
        found = measures.mean_shares(ROWS[label])
        cells = [f"{found[place]:.2f}" if place in found else "" for place in places]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += [
        "",
        "Mean over the workloads, one seed, all methods at the same rates: those of the right "
        "figure. Tuned methods have the constant that is best at their own best rate.",
    ]
    return "\n".join(lines)


def replaced(text: str, blocks: dict[str, str], received: str) -> str:
    """The text with what stands between `<!-- NAME -->` and `<!-- end of NAME -->` replaced.

    Raises:
        InputError: If a pair of comments is not there once.
    """
    for name, content in blocks.items():
        # With empty lines: without them, a table is none to some readers of Markdown.
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        text, count = re.subn(
            pattern, lambda m, c=content: f"{m[1]}\n{c}\n\n{m[2]}", text, flags=re.DOTALL
        )
        if count != 1:
            raise InputError(
                f"There has to be one pair of the comments <!-- {name} --> and <!-- end of {name} "
                f"-->. Received: {count} in {received}"
            )
    return text


def blocks(measures: Measures) -> dict[str, str]:
    """By the name of its comments, each part that the study writes."""
    return {SENTENCE: sentence(measures), TABLE: table(measures), SHARES: shares(measures)}


def pages(measures: Measures, root: Path) -> dict[Path, str]:
    """The text of each of `PAGES` with its parts as the records have them."""
    every = blocks(measures)
    found = {}
    for name, parts in PAGES.items():
        text = (root / name).read_text(encoding="utf-8")
        found[root / name] = replaced(text, {part: every[part] for part in parts}, name)
    return found


def write_summary(measures: Measures, root: Path) -> None:
    """Writes the parts into the pages below `root`, and the figure."""
    texts = pages(measures, root)
    draw_summary(measures, root / FIGURE)
    for path, text in texts.items():
        with atomic(path) as partial:
            partial.write_text(text, encoding="utf-8")
