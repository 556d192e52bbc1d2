"""The table of a comparison: a row for each schedule, means over the seeds."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from recipes.common.results.runs import Curves
from recipes.compare.runs import Cases, Run

_NAN = float("nan")


def steps_to(curves: Curves, target: float) -> float:
    """Updates until the validation loss is at `target`, straight lines between evaluations.

    NaN if it never is.

    Example:

    >>> curves = Curves({}, {"step": np.array([0, 10, 20]),
    ...                      "validation_loss": np.array([7.0, 5.0, 4.0])})
    >>> steps_to(curves, 6.0), steps_to(curves, 4.0), steps_to(curves, 3.0)
    (5.0, 20.0, nan)
    """
    steps = curves.evaluations["step"]
    losses = curves.evaluations["validation_loss"]
    reached = np.flatnonzero(losses <= target)
    if not len(reached):
        return _NAN
    i = int(reached[0])
    if i == 0:
        return float(steps[0])
    share = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
    if not math.isfinite(share):
        return float(steps[i])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def tabulate(runs: Sequence[Run], target: float | None) -> tuple[list[dict[str, Any]], float]:
    """One row per schedule, means over the seeds that did not diverge, and the target used."""
    if target is None:
        target = max(_of("final_validation_loss", _sound(runs)), default=_NAN)
    several = len({run.seed for run in runs}) > 1
    accuracy = "final_validation_accuracy" in runs[0].summary
    rows = []
    for schedule in dict.fromkeys(run.schedule for run in runs):
        group = [run for run in runs if run.schedule == schedule]
        rows.append({"schedule": schedule} | _row(group, target, several, accuracy))
    return rows, target


def _row(group: Sequence[Run], target: float, several: bool, accuracy: bool) -> dict[str, Any]:
    """The columns of one schedule.

    Args:
        group: Its runs.
        target: Validation loss that the updates are counted to.
        several: Whether there is more than one seed, and so a spread.
        accuracy: Whether the runs have an accuracy; else the perplexity is shown.
    """
    kept = _sound(group)
    validation = _of("final_validation_loss", kept)
    row = {"train": _mean(_of("final_training_loss", kept)), "validation": _mean(validation)}
    if several:
        row["spread"] = _spread(validation)
    if accuracy:
        accuracies = _of("final_validation_accuracy", kept)
        row["accuracy"] = _mean(accuracies)
        if several:
            row["± accuracy"] = _spread(accuracies)
    else:
        row["perplexity"] = math.exp(min(_mean(validation), 700.0)) if kept else _NAN
    # A mean over those runs alone that get there would flatter a rule that often does not.
    counts = [steps_to(run.curves, target) for run in group]
    row[f"steps to {target:.2f}"] = round(fmean(counts)) if np.isfinite(counts).all() else None
    peaks = _of("first_step_at_peak_rate", group)
    row["peak from"] = round(_mean(peaks)) if all(peaks) else None
    row["diverged"] = f"{len(group) - len(kept)} of {len(group)}"
    row["seconds"] = round(_mean(_of("seconds", group)))
    return row


def _sound(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if not run.summary["diverged"]]


def _of(name: str, runs: Sequence[Run]) -> list:
    return [run.summary[name] for run in runs]


def _mean(values: Iterable[float | None]) -> float:
    """Over the values that there are; NaN if there is none."""
    values = [v for v in values if v is not None and math.isfinite(v)]
    return fmean(values) if values else _NAN


def _spread(values: Sequence[float]) -> float:
    """The sample's standard deviation; NaN of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else _NAN


def tabulate_cases(
    runs: Sequence[Run], cases: Cases, target: float | None
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The rows of all cases, each with its option's value, and the target of each case."""
    rows, targets = [], {}
    for case in cases.values:
        found, targets[case] = tabulate([run for run in runs if run.case == case], target)
        # The targets differ between models, so they cannot stand in a header that all share.
        rows += [cases.label(case) | _shared_header(row) for row in found] if case else found
    return rows, targets


def _shared_header(row: dict[str, Any]) -> dict[str, Any]:
    """`steps to 0.35` as two columns, since another model's target is another."""
    result = {}
    for name, value in row.items():
        if name.startswith("steps to "):
            result |= {"target": float(name.removeprefix("steps to ")), "steps to it": value}
        else:
            result[name] = value
    return result


def verdict(rows: Sequence[dict[str, Any]], case: str, seeds: int) -> str:
    """What the rows of one case show in words, whichever schedule they favour."""
    about = f"{case}: " if case else ""
    sound = [row for row in rows if math.isfinite(row["validation"])]
    if not sound:
        return f"{about}Every run diverged."
    best = min(sound, key=lambda row: row["validation"])
    return f"{about}Lowest validation loss: {best['schedule']}, {best['validation']:.4f}." + (
        " One seed: differences of a few hundredths mean nothing." if seeds == 1 else ""
    )
