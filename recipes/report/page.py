"""From results to the page."""

import base64
import math
from html import escape
from typing import Any

from recipes.common.results.formatting import text
from recipes.report.markup import bullets, details, table
from recipes.report.probes import study_section
from recipes.report.reading import Results, Table
from recipes.report.style import CSS
from recipes.report.training import training_section

# Nothing may be loaded and no script may run, whatever a run's files say.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# By what a column of a comparison begins with.
_COLUMNS = {
    "spread": "standard deviation of the validation loss over the seeds",
    "± accuracy": "standard deviation of the accuracy over the seeds",
    "steps to": "updates until the validation loss is that low; – if a run never gets there",
    "peak from": "the first update at the peak rate; – if a run never gets there",
}
_HEADINGS = {"comparison": "Comparison", "fits": "Fitted constants", "experiment": "Experiment"}


def build_page(results: Results, title: str | None = None) -> str:
    """The whole page.

    Args:
        results: What was found.
        title: The heading; by default the folders' names.
    """
    title = title or "Results: " + ", ".join(folder.name for folder in results.folders)
    sections: list[tuple[str, str, str]] = []  # Anchor, name in the menu, HTML.
    for kind in ("comparison", "runs", "experiment", "fits", "study"):
        if kind == "runs":
            if results.runs:
                sections.append(("runs", "Training runs", training_section(results.runs)))
        elif kind == "study":
            for index, study in enumerate(results.studies):
                anchor = f"study-{index}"
                same = sum(other.name == study.name for other in results.studies)
                name = study.name if same == 1 else f"{study.path.parent.name}/{study.name}"
                section = study_section(study, anchor, name)
                sections.append((anchor, f"Curvature: {name}", section))
        else:
            for index, one in enumerate(t for t in results.tables if t.kind == kind):
                anchor = f"{kind}-{index}"
                sections.append((anchor, _heading(one), _table_section(one, anchor)))
    menu = "".join(f'<a href="#{a}">{escape(name)}</a>' for a, name, _ in sections)
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body>"
        f"<header><h1>{escape(title)}</h1>{_count(results)}"
        + (f"<nav>{menu}</nav>" if len(sections) > 1 else "")
        + "</header>\n<main>"
        + "\n".join(section for *_, section in sections)
        + f"{_environments(results)}</main></body></html>\n"
    )
    # JSON may hold half of a surrogate pair, which UTF-8 cannot.
    return page.encode("utf-8", "replace").decode("utf-8")


def _count(results: Results) -> str:
    counts = [
        (len(results.runs), "training run"),
        (sum(t.kind == "experiment" for t in results.tables), "experiment"),
        (sum(len(s.cases) for s in results.studies), "probed run"),
    ]
    words = ", ".join(f"{n} {what}{'s' if n > 1 else ''}" for n, what in counts if n)
    places = ", ".join(f"<code>{escape(str(folder))}</code>" for folder in results.folders)
    links = ", ".join(f"<code>{escape(str(path))}</code>" for path in results.not_followed)
    links = f". Links that lead out of there are not followed: {links}" if links else ""
    return f'<p class="soft">{words}{" from " if words else ""}{places}{links}</p>'


def _heading(one: Table) -> str:
    folder, name = one.path.parent.name, one.path.stem.replace("_", " ")
    return f"{_HEADINGS[one.kind]}: {name if one.kind == 'experiment' else folder}"


def _table_section(one: Table, anchor: str) -> str:
    heading = _heading(one)
    parts = [f'<section><h2 id="{anchor}">{escape(heading)}</h2>']
    findings = one.content.get("findings")
    if isinstance(findings, list):
        parts.append(bullets(map(str, findings)))
    rows = [{k: _number(v) for k, v in row.items()} for row in one.rows]
    if one.figure:
        data = base64.b64encode(one.figure).decode()
        parts.append(
            f'<figure class="wide"><img alt="Figure of {escape(heading)}" '
            f'src="data:image/png;base64,{data}"></figure>'
        )
    parts.append(table(rows, heading))
    if one.kind == "comparison":
        parts.append(bullets(_said(one.content, rows)))
    if "command" in one.content:
        parts.append(
            f'<p class="soft">Made by <code>{escape(str(one.content["command"]))}</code></p>'
        )
    return "".join([*parts, "</section>"])


def _number(value: Any) -> Any:
    """Lists and objects inside a cell are words."""
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _said(content: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """What a reader needs to know to read a comparison, and before believing it."""
    lines = _lowest(rows)
    runs = content["runs"] if isinstance(content["runs"], list) else []
    seeds = {repr(run.get("seed")) for run in runs if isinstance(run, dict)}
    if len(seeds) == 1:
        lines.append("One seed: differences of a few hundredths mean nothing.")
    elif len(seeds) > 1:
        lines.append(f"Means over {len(seeds)} seeds, those of runs that did not diverge.")
    for name in rows[0]:
        for start, meaning in _COLUMNS.items():
            if name.startswith(start):
                lines.append(f"{name}: {meaning}.")
    return lines


def _lowest(rows: list[dict[str, Any]]) -> list[str]:
    """For each model, or whatever stands before the schedule, the schedule of the lowest loss."""
    if not {"schedule", "validation"} <= rows[0].keys():
        return []
    before = list(rows[0])[: list(rows[0]).index("schedule")]
    cases: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        loss = row["validation"]
        if isinstance(loss, int | float) and math.isfinite(loss):
            cases.setdefault(", ".join(str(row[name]) for name in before), []).append(row)
    lines = []
    for case, group in cases.items():
        best, *others = sorted(group, key=lambda row: row["validation"])
        line = f"Lowest validation loss: {best['schedule']}, {text(best['validation'])}"
        if others:
            line += f"; next: {others[0]['schedule']}, {text(others[0]['validation'])}"
            spreads = [row.get("spread") for row in (best, others[0])]
            apart = others[0]["validation"] - best["validation"]
            if all(isinstance(one, int | float) for one in spreads) and apart <= max(spreads):
                line += ", which is within the spread of the seeds"
        lines.append((f"{case}: " if case else "") + line + ".")
    return lines


def _environments(results: Results) -> str:
    """Versions and hardware, once for each that occurs."""
    found: dict[str, dict] = {}
    contents = [run.summary for run in results.runs] + [t.content for t in results.tables]
    for content in contents:
        environment = content.get("environment")
        if isinstance(environment, dict):
            found.setdefault(repr(environment), environment)
    parts = []
    for environment in found.values():
        rows = []
        for name, value in environment.items():
            if isinstance(value, dict):
                rows += [{"what": str(k), "value": str(v)} for k, v in value.items() if v]
            else:
                words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                rows.append({"what": str(name), "value": words})
        if rows:
            heading = f"Versions and hardware: {environment.get('backend', '')}".rstrip(": ")
            parts.append(details(heading, table(rows, heading)))
    return "".join(parts)
