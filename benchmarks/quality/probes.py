"""Why a method ends where it ends: rate times sharpness along the run, `python -m
benchmarks.quality.probes run` and `report`.

A step is stable, as far as a quadratic model of the loss tells, while the rate is below a threshold
over the sharpness: 2 (1 + m) for SGD with momentum m, (2 + 2 beta_1) / (1 - beta_1) for Adam, whose
sharpness is that of its preconditioned Hessian. What is recorded is the rate over that limit: above
1 the loss of such a model would grow. `run` needs the records of `evidence`, from which the rates
and the constants follow; one file each run, nothing is repeated. `PROTOCOL.md` says which.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from matplotlib.figure import Figure
from rich.progress import track

from benchmarks.quality import evidence, records
from benchmarks.quality.evidence_report.rows import ROWS
from benchmarks.quality.measures import Measures
from benchmarks.quality.methods import LINEAR
from benchmarks.quality.trial import Program, Trial
from benchmarks.quality.workload import load_workload
from keras_h0h1.curvature import (
    Objective,
    adam_stability_threshold,
    lanczos,
    preconditioned_sharpness,
)
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic
from recipes.common.results.plots import COLOURS, DASHES

WORKLOADS = ("post_ln_transformer", "deep_plain", "resnet", "vit", "lstm", "gpt_code")
LABELS = ("none", "linear, best length", "the paper's rule, best C", "self-tuned rule")
PLACES = (0, 1)
"""Of the grid, above tuned linear warm-up's best rate."""
FOLDER = records.RESULTS / "probes"
FINE, COARSE = 10, 9
"""Stretches of a hundredth of the run at its beginning, and of a tenth for the rest."""


def limit(optimizer: keras.optimizers.Optimizer) -> float:
    """The rate times the sharpness at which a step on a quadratic loss stops being stable."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if hasattr(inner, "beta_2"):
        return adam_stability_threshold(1.0, inner.beta_1)
    return 2.0 * (1.0 + (getattr(inner, "momentum", 0.0) or 0.0))


def _sharpness(program: Program, state: tuple, objective: Objective, batch: tuple) -> float:
    variables = (
        program.model.trainable_variables,
        program.model.non_trainable_variables,
        program.optimizer.variables,
    )
    for group, values in zip(variables, state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)
    inner = getattr(program.optimizer, "inner_optimizer", program.optimizer)
    options = {"max_iterations": 20, "tol": 0.01}
    if hasattr(inner, "beta_2"):
        found = preconditioned_sharpness(objective, batch, optimizer=program.optimizer, **options)
    else:
        found = lanczos(objective.hessian(batch), **options)
    return float(found.value[0])


def measure(trial: Trial) -> dict[str, Any]:
    """Runs the trial, stopping to measure; losses, effective rates and rate over limit.

    The sharpness is that of the loss on the batch of the last update. Where the weights are no
    longer finite the run ends.
    """
    identity = trial.identity()
    workload = load_workload(trial.workload)
    program = Program(workload, trial.method)
    updates = identity["updates"]
    batches = workload.training(trial.seed, updates)
    objective = Objective(program.model)
    start = state = program.start(trial.method, trial.rate, trial.seed, updates)
    bounds = [updates * k // 100 for k in range(FINE)]
    bounds += [updates * k // 10 for k in range(1, COARSE + 2)]
    bounds = sorted(set(bounds))  # A short run has fewer stretches.
    losses, rates, ends, sharpness = [], [], [], []
    for low, high in itertools.pairwise(bounds):
        state, loss, rate = program.advance(state, tuple(a[low:high] for a in batches))
        losses.append(loss)
        rates.append(rate)
        value = np.nan
        if all(np.isfinite(w).all() for w in state[0]):
            # Not a held-out batch: Adam divides by next to nothing where no batch has had a
            # gradient yet, such as the vector of a token that was not seen, and that would be all.
            value = _sharpness(program, state, objective, tuple(a[high - 1] for a in batches))
        ends.append(high)
        sharpness.append(value)
        if not np.isfinite(value):
            break
    done = ends[-1]
    every = program.rates(trial.method, start, updates, np.concatenate(rates))[:done]
    # The rate of the next update, which this curvature is for; after the last one its own.
    following = np.append(every, every[-1])[ends]
    return {
        "identity": identity,
        "name": trial.method.name,
        "limit": limit(program.optimizer),
        "updates": ends,
        "losses": [float(part.mean()) for part in losses],
        "rates": following.tolist(),
        "sharpness": sharpness,
        "over_limit": (following * np.array(sharpness) / limit(program.optimizer)).tolist(),
    }


def cells(measures: Measures) -> Iterator[tuple[str, int, str, Trial]]:
    """`(workload, place, label, trial)` of each run, for the workloads that are complete."""
    for name in WORKLOADS:
        if name not in measures.workloads:
            continue
        best = measures.best_rate_of_a(name, LINEAR)
        grid = measures.study.grid(name, LINEAR[0])
        for place in PLACES:
            rate = grid[grid.index(best) + place]
            for label in LABELS:
                pick = measures.pick(name, ROWS[label])
                yield name, place, label, Trial(name, pick[0], rate, 0)


def _path(name: str, place: int, label: str, folder: Path) -> Path:
    return folder / f"{name}-{place}-{LABELS.index(label)}.json"


def run(measures: Measures, folder: Path = FOLDER) -> int:
    """Measures what has no file yet; the number of files."""
    wanted = list(cells(measures))
    for name, place, label, trial in track(wanted, description="probes"):
        path = _path(name, place, label, folder)
        if not path.exists():
            records.write(path, {"place": place, "label": label, **measure(trial)})
    return len(wanted)


def read(folder: Path = FOLDER) -> dict[tuple[str, int, str], dict[str, Any]]:
    """The records by workload, place above the best rate, and method."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    return {(r["identity"]["workload"], r["place"], r["label"]): r for r in found}


def table(found: dict[tuple[str, int, str], dict[str, Any]]) -> str:
    """The largest rate over its limit, and how many of the measurements are above it."""
    names = [name for name in WORKLOADS if any(key[0] == name for key in found)]
    lines = ["| | " + " | ".join(f"{n}, {_where(p)}" for n in names for p in PLACES) + " |"]
    lines.append("|---" * (len(names) * len(PLACES) + 1) + "|")
    for label in LABELS:
        row = []
        for record in (found.get((n, p, label)) for n in names for p in PLACES):
            ratios = [] if record is None else [r for r in record["over_limit"] if r is not None]
            count = sum(ratio > 1 for ratio in ratios)
            row.append(f"{max(ratios):.2g} ({count})" + _ended(record) if ratios else "")
        lines.append(f"| {label} | {' | '.join(row)} |")
    return "\n".join(lines)


def _ended(record: dict[str, Any]) -> str:
    last, updates = record["updates"][-1], record["identity"]["updates"]
    return "" if record["over_limit"][-1] is not None else f", not finite at {last} of {updates}"


def _where(place: int) -> str:
    return "best rate" if place == 0 else f"{10 ** (place / 2):.0f} times it"


def draw(found: dict[tuple[str, int, str], dict[str, Any]], path: Path) -> None:
    """Rate over limit against updates: a row for each rate, a column for each workload."""
    names = [name for name in WORKLOADS if any(key[0] == name for key in found)]
    figure = Figure(figsize=(3.3 * len(names), 6.4), layout="constrained")
    charts = figure.subplots(len(PLACES), len(names), squeeze=False)
    for row, place in zip(charts, PLACES, strict=True):
        for axes, name in zip(row, names, strict=True):
            for index, label in enumerate(LABELS):
                if record := found.get((name, place, label)):
                    values = [np.nan if r is None else r for r in record["over_limit"]]
                    style = {"color": COLOURS[index], "linestyle": DASHES[index]}
                    axes.plot(record["updates"], values, marker=".", label=label, **style)
            axes.axhline(1.0, color="0.5", linewidth=1)
            axes.set(xscale="log", yscale="log", title=f"{name}, {_where(place)}", xlabel="update")
        row[0].set_ylabel("rate over the stability limit")
    handles, labels = charts[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(LABELS))
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.probes")
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the records")
    options = parser.parse_args(argv)
    try:
        if options.command == "run":
            measures = Measures(evidence.EVIDENCE, records.RESULTS / "evidence").finished()
            print(f"{run(measures, options.results)} runs are in {options.results}")
        found = read(options.results)
        if not found:
            raise InputError(f"There are no records of probes. Received: {options.results}")
        draw(found, options.results / "stability.png")
        with atomic(options.results / "PROBES.md") as partial:
            partial.write_text(_page(found), encoding="utf-8")
        print(options.results / "PROBES.md")
    except InputError as error:
        parser.error(str(error))
    return 0


def _page(found: dict[tuple[str, int, str], dict[str, Any]]) -> str:
    about = (
        "The largest value of rate times sharpness over its limit along the run, and in brackets "
        f"in how many of {FINE + COARSE} measurements it is above 1; seed 0. At tuned linear "
        "warm-up's best peak rate and at the next one of the grid. Written by "
        "`python -m benchmarks.quality.probes report`."
    )
    figure = "![Rate over the stability limit](stability.png)"
    return "\n\n".join(["# The rate over its stability limit", about, table(found), figure]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
