"""Curvature against the loss, as probes have measured it, and the constants fitted to it."""

from collections.abc import Sequence
from html import escape

import numpy as np

from keras_h0h1.curvature import NotIdentifiedError, SmoothnessFit, fit_smoothness
from recipes.report.charts import Series, chart, swatch, wants_log
from recipes.report.markup import details, legend, table
from recipes.report.reading import Columns, Study

# The bootstrap of a fit holds a thousand resamples of all points at once.
MOST_FITTED = 2000

_MODES = {
    "gradient_difference": "gradient difference on one batch",
    "hessian": "spectral norm of the Hessian",
    "preconditioned": "Adam-preconditioned Hessian",
    "trajectory": "gradient difference on two batches, noise included",
}


def study_section(study: Study, anchor: str, name: str) -> str:
    """Charts of one study, and its fits where no table of them was found."""
    cases = [(i, "", name, columns) for i, (name, columns) in enumerate(study.cases.items())]
    key = legend([(swatch(i, dots=True), name) for i, _, name, _ in cases])
    charts = [*curvature_charts(cases), *_block_charts(cases)]
    fits = fit_rows([(name, columns) for _, _, name, columns in cases])
    return (
        f'<section><h2 id="{anchor}">Curvature: {escape(name)}</h2>{key}'
        f'<div class="charts">{"".join(charts)}</div>'
        + details("Fits: curvature = H0 + H1 loss", table(fits, "Fitted smoothness constants"))
        + "</section>"
    )


def _fit(columns: Columns) -> SmoothnessFit | str:
    """The fit, or why there is none; to evenly spaced points where there are very many."""
    there = np.flatnonzero(np.isfinite(columns["loss"]) & np.isfinite(columns["curvature"]))
    there = there[:: -(-len(there) // MOST_FITTED) or 1]
    try:
        return fit_smoothness(columns["loss"][there], columns["curvature"][there])
    except (NotIdentifiedError, ValueError) as refusal:
        return str(refusal).split(".")[0]


def fit_rows(cases: Sequence[tuple[str, Columns]]) -> list[dict]:
    """One row for each case: H0 and H1 with their intervals, or why they cannot be told."""
    rows = []
    for label, columns in cases:
        fit = _fit(columns)
        row = {"case": label, "points": len(columns["step"])}
        if isinstance(fit, str):
            empty = dict.fromkeys(("H0", "H0 interval", "H1", "H1 interval", "R²"))
            rows.append({**row, **empty, "note": fit})
            continue
        note = ""
        if fit.points_outside:
            note = f"curvature rises again below loss {fit.valid_range[0]:.3g}"
        elif not fit.H1 > 0:
            note = "the curvature does not fall with the loss"
        if len(columns["step"]) > MOST_FITTED:
            fitted = f"fitted to at most {MOST_FITTED:,} points, evenly spaced"
            note = f"{note}; {fitted}" if note else fitted
        rows.append(
            {
                **row,
                "H0": fit.H0,
                "H0 interval": "{:.3g} to {:.3g}".format(*fit.H0_interval),
                "H1": fit.H1,
                "H1 interval": "{:.3g} to {:.3g}".format(*fit.H1_interval),
                "R²": fit.r_squared,
                "note": note,
            }
        )
    return rows


def curvature_charts(cases: Sequence[tuple[int, str, str, Columns]]) -> list[str]:
    """Two charts for each way of measuring: against the loss, and over the updates.

    Args:
        cases: Look, group, label and columns of each probe.
    """
    charts = []
    modes = dict.fromkeys(mode for *_, columns in cases for mode in set(_modes(columns)))
    for mode in modes:
        against, over = [], []
        for index, group, label, columns in cases:
            chosen = _modes(columns) == mode
            if not chosen.any():
                continue
            loss, curvature = columns["loss"][chosen], columns["curvature"][chosen]
            look = {"look": index, "group": group, "label": label}
            against.append(Series(loss, curvature, kind="dots", **look))
            fit = _fit({"loss": loss, "curvature": curvature})
            # A flat line through curvatures that do not fall with the loss says nothing.
            if not isinstance(fit, str) and fit.H1 > 0:
                x = np.linspace(*fit.valid_range, 40)
                against.append(Series(x, fit.curvature(x), kind="line", **look))
            over.append(Series(columns["step"][chosen], curvature, kind="marked", **look))
        how = _MODES.get(mode, mode)
        log_y = wants_log(np.concatenate([s.y for s in against]))
        charts.append(
            chart(
                against,
                title="Curvature against loss",
                xlabel="loss on the probe's batch",
                ylabel=f"{how}; lines: H0 + H1 loss",
                log_x=wants_log(np.concatenate([s.x for s in against])),
                log_y=log_y,
            )
        )
        charts.append(
            chart(
                over, title="Curvature over the updates", xlabel="update", ylabel=how, log_y=log_y
            )
        )
    return charts


def _modes(columns: Columns) -> np.ndarray:
    return columns.get("mode", np.full(len(columns["step"]), ""))


def _block_charts(cases: Sequence[tuple[int, str, str, Columns]]) -> list[str]:
    """A chart for each case whose blocks were measured apart."""
    charts = []
    for _, _, label, columns in cases:
        blocks = [name for name in columns if name.startswith("curvature/")]
        series = [
            Series(columns["loss"], columns[name], look=i, kind="dots")
            for i, name in enumerate(blocks)
        ]
        entries = [(swatch(i, dots=True), name[10:]) for i, name in enumerate(blocks)]
        if series:
            charts.append(
                chart(
                    series,
                    title=f"{label}, by block",
                    xlabel="loss on the probe's batch",
                    log_y=wants_log(np.concatenate([s.y for s in series])),
                    legend=legend(entries),
                )
            )
    return charts
