"""The part of the page on training runs: curves side by side, and a table of the runs."""

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from recipes.common.results.configuration import PLACE
from recipes.common.results.formatting import setting
from recipes.common.results.runs import Run
from recipes.common.results.smoothing import smooth
from recipes.report.charts import Series, chart, swatch, wants_log
from recipes.report.markup import MISSING, Html, Number, bullets, details, html, legend, table
from recipes.report.probes import curvature_charts, fit_rows

# Titles, and the order of the charts; whatever else a run has written comes after these.
_TITLES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "learning_rate": "Effective learning rate",
    "factor": "Factor on the rate",
}
# Time is in the table; the base rate is the effective one where the factor is 1.
_NOT_DRAWN = ("step", "seconds", "base_learning_rate")


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone: one colour, one name, one check box.

    Args:
        index: Decides colour and dash.
        label: Its name in the legend.
        runs: One for each seed.
    """

    index: int
    label: str
    runs: list[Run]

    @property
    def css(self) -> str:
        return f"g{self.index}"


def group(runs: Sequence[Run]) -> list[Group]:
    """Puts seeds together and finds the shortest names that tell the groups apart."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.experiment, []).append(run)

    def schedule(run):
        return str(run.config.get("schedule") or "")

    def name(run):
        return re.sub(r"-seed\d+$", "", run.name)

    around = _parents(runs)

    def long_name(run):
        return f"{around[run.path]}/{name(run)}"

    firsts = [members[0] for members in groups.values()]
    for naming in (schedule, name, long_name):
        found = [naming(run) for run in firsts]
        if all(found) and len(set(found)) == len(found):
            break
    else:
        found = [str(run.path) for run in firsts]
    return [
        Group(index, str(label), members)
        for index, (label, members) in enumerate(zip(found, groups.values(), strict=True))
    ]


def labels(runs: Sequence[Run]) -> dict[Path, str]:
    """A name for each run: that of its folder, with the folder around it where two are equal."""
    names, around = [run.name for run in runs], _parents(runs)
    return {
        run.path: run.name if names.count(run.name) == 1 else f"{around[run.path]}/{run.name}"
        for run in runs
    }


def _parents(runs: Sequence[Run]) -> dict[Path, str]:
    """The folder around each run, without the words with which all of them begin."""
    names = {run.path: run.path.parent.name for run in runs}
    # Characters are meant, not components of a path.
    shared = os.path.commonprefix(list(names.values())).rpartition("-")  # noqa: RUF071
    start = len(shared[0] + shared[1]) if len(set(names.values())) > 1 else 0
    return {path: name[start:] or name for path, name in names.items()}


def training_section(runs: Sequence[Run]) -> str:
    """Legend with check boxes, charts, table and settings of all training runs."""
    groups, names = group(runs), labels(runs)
    parts = ['<section><h2 id="runs">Training runs</h2>']
    measured = [g for g in groups if any(run.metrics or run.evaluations for run in g.runs)]
    if measured:
        entries = [(swatch(g.index), _label(g)) for g in groups]
        parts.append(_switches(groups))
        parts.append(legend(entries, [f"show-{g.css}" for g in groups]))
        if len(groups) > 1:
            parts.append('<p class="soft">A box that is not ticked hides its curves.</p>')
        parts.append(f'<div class="charts">{"".join(_charts(groups))}</div>')
    parts.append("<h3>Where they ended</h3>")
    parts.append(table([_row(g, run, names) for g in groups for run in g.runs], "Final values"))
    parts.append(_notes(groups, names))
    parts.append(_curvature(groups, names))
    parts.append(_settings(runs, names))
    parts.append(_samples(runs, names))
    parts.append("</section>")
    return "".join(parts)


def _label(one: Group) -> str:
    return one.label + (f" ({len(one.runs)} runs)" if len(one.runs) > 1 else "")


def _switches(groups: Sequence[Group]) -> str:
    rules = (f"body:has(#show-{g.css}:not(:checked)) .{g.css} {{ display: none; }}" for g in groups)
    return f"<style>{' '.join(rules)}</style>"


def _charts(groups: Sequence[Group]) -> list[str]:
    names = dict.fromkeys(_TITLES)
    for run in (run for g in groups for run in g.runs):
        names |= dict.fromkeys(run.metrics)
        names |= dict.fromkeys(k.removeprefix("validation_") for k in run.evaluations)
    return [_chart(name, groups) for name in names if name not in _NOT_DRAWN]


def _chart(name: str, groups: Sequence[Group]) -> str:
    pale, full = [], []
    for g in groups:
        for run in g.runs:
            look = {"look": g.index, "group": g.css, "label": run.name}
            rate = name in ("learning_rate", "factor")
            held_out = f"validation_{name}" in run.evaluations
            if name in run.metrics:
                x, y = run.metrics["step"], run.metrics[name]
                if rate:
                    full.append(Series(x, y, **look))
                else:
                    pale.append(Series(*smooth(x, y), kind="pale", **look))
            elif name in run.evaluations:
                x, y = run.evaluations["step"], run.evaluations[name]
                pale.append(Series(x, y, kind="pale" if held_out else "marked", **look))
            if held_out:
                x, y = run.evaluations["step"], run.evaluations[f"validation_{name}"]
                full.append(Series(x, y, kind="marked", **look))
    if not full:
        full, pale = [dataclasses.replace(s, kind="line") for s in pale], []
    title = _TITLES.get(name, name.replace("_", " ").replace("/", ", ").capitalize())
    note = "held-out data; training pale" if pale and full else ""
    baselines = _baselines(groups) if name == "loss" else {}
    if name == "learning_rate":
        # Each run's own goes down to zero. But beside SGD's, AdamW's would be a flat line.
        spans = [np.array([np.nanmax(s.y, initial=0.0) for s in full])]
    else:
        spans = [s.y for s in pale + full if name not in ("accuracy", "factor")]
    log = bool(spans) and wants_log(np.concatenate(spans))
    return chart(
        pale + full,
        title=title,
        xlabel="update",
        ylabel=note,
        log_y=log,
        low=0.0 if name in ("learning_rate", "factor") and not log else None,
        high=1.0 if name == "factor" else None,
        lines=baselines,
    )


def _baselines(groups: Sequence[Group]) -> dict[str, float]:
    """Losses to beat, where all runs have the same."""
    found = [
        run.summary["baselines"] for g in groups for run in g.runs if "baselines" in run.summary
    ]
    if not found or any(other != found[0] for other in found) or not isinstance(found[0], dict):
        return {}
    return {k: v for k, v in found[0].items() if isinstance(v, int | float) and math.isfinite(v)}


def _row(one: Group, run: Run, names: dict[Path, str]) -> dict[str, Any]:
    config, summary = run.config, run.summary
    speed = next((k for k in summary if k.endswith("_per_second")), None)
    total = config.get("steps") or summary.get("steps")
    if summary.get("diverged"):
        state = "diverged"
    elif summary.get("finished"):
        state = "finished"
    elif not run.metrics and not run.evaluations:
        state = "no measurement yet"
    elif summary or config:
        state = f"at update {run.steps:,}" + (f" of {total:,}" if isinstance(total, int) else "")
    else:
        state = None
    last = run.final
    columns = ("training loss", "validation loss", "training accuracy", "validation accuracy")
    rest = {k: v for k, v in last.items() if k not in columns}
    seconds = run.seconds
    return {
        "run": Html(swatch(one.index) + escape(names[run.path])),
        "schedule": config.get("schedule"),
        "peak rate": _typed(config.get("peak_lr")),
        "C": _typed(config.get("C") if config.get("schedule") == "h0h1" else None),
        "seed": config.get("seed"),
        "updates": run.steps or None,
        "state": state,
        **{name: last.get(name) for name in columns},
        **rest,
        "perplexity": summary.get("perplexity"),
        "full rate from": run.full_rate_from,
        "seconds": None if seconds is None else round(seconds),
        **({speed.replace("_per_second", "/s"): summary[speed]} if speed else {}),
    }


def _typed(value: Any) -> Number:
    return Number(escape(setting(value, MISSING)))


def _notes(groups: Sequence[Group], names: dict[Path, str]) -> str:
    notes = []
    runs = [run for g in groups for run in g.runs]
    below = [
        names[run.path] for run in runs if "factor" in run.metrics and run.full_rate_from is None
    ]
    if below:
        notes.append(
            f"The loss never let the rate reach its peak in {', '.join(below)}: a higher C would."
        )
    if any(run.full_rate_from is not None for run in runs):
        notes.append("full rate from: the first update at which the loss did not lower the rate.")
    data = dict.fromkeys(str(run.summary["data"]) for run in runs if "data" in run.summary)
    notes += [f"Data: {source}" for source in data]
    for name, value in _baselines(groups).items():
        notes.append(f"Validation loss of the {name} model: {value:.4f}")
    return bullets(notes) if notes else ""


def _curvature(groups: Sequence[Group], names: dict[Path, str]) -> str:
    cases = [
        (g.index, g.css, names[run.path] + (f", {file}" if len(run.probes) > 1 else ""), columns)
        for g in groups
        for run in g.runs
        for file, columns in run.probes.items()
    ]
    if not cases:
        return ""
    charts = "".join(curvature_charts(cases))
    fits = fit_rows([(label, columns) for _, _, label, columns in cases])
    return f'<h3>Curvature along training</h3><div class="charts">{charts}</div>' + table(
        fits, "Fitted smoothness constants"
    )


def _settings(runs: Sequence[Run], names: dict[Path, str]) -> str:
    """What differs between the runs as a table; what they share is folded."""
    configured = [run for run in runs if run.config]
    if not configured:
        return ""
    every = dict.fromkeys(name for run in configured for name in run.config)
    values = {name: [run.config.get(name) for run in configured] for name in every}
    differ = [
        name
        for name, found in values.items()
        if name not in PLACE and any(value != found[0] for value in found)
    ]
    parts = []
    # The table above has these already.
    if set(differ) - {"schedule", "peak_lr", "seed", "steps"}:
        rows = [
            {
                "run": names[run.path],
                **{name: setting(run.config.get(name), MISSING) for name in differ},
            }
            for run in configured
        ]
        parts.append("<h3>Settings that differ</h3>" + table(rows, "Settings that differ"))
    shared = [
        {"setting": name, "value": setting(found[0], MISSING)}
        for name, found in values.items()
        if name not in (*differ, *PLACE)
    ]
    if shared:
        heading = "Settings that all share" if len(configured) > 1 else "Settings"
        parts.append(details(heading, table(shared, heading)))
    return "".join(parts)


def _samples(runs: Sequence[Run], names: dict[Path, str]) -> str:
    return "".join(
        details(f"Text written by {names[run.path]}", f"<pre>{html(run.sample)}</pre>")
        for run in runs
        if run.sample
    )
