"""Curvature against loss at three sizes: `python -m benchmarks.curvature_sizes`.

The papers' first figure, at the sizes that fit: `recipes.smoothness --only initialisation` for each
size and seed, without its blocks. Each run leaves `SIZE-SEED.json` in
`benchmarks/results/curvature_sizes/`; what is there is not computed again, so the program may be
killed and started again at any moment. At the end it draws `curvature_sizes.png` and writes
`CURVATURE_SIZES.md` from these files. What was decided beforehand stands in
`benchmarks/quality/PROTOCOL.md`.
"""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from benchmarks.common import RESULTS, made_by
from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import build, check_options, option, parse
from recipes.common.command_line.settings import LARGEST_SEED, MOST_STEPS
from recipes.common.files.writing import atomic, make_folder, write_json
from recipes.common.results.csv_files import read_columns
from recipes.common.results.plots import COLOURS
from recipes.gpt.model import SIZES, parameter_count
from recipes.smoothness import recipe
from recipes.smoothness.config import Smoothness

PROGRAM = "python -m benchmarks.curvature_sizes"
FOLDER = RESULTS / "curvature_sizes"
CASES = ("depth-scaled", "fixed variance")


@dataclasses.dataclass
class CurvatureSizes:
    """Curvature at several sizes: which runs."""

    sizes: tuple[Literal[tuple(SIZES)], ...] = option(("demo", "3m", "10m"), "of the GPT")
    seeds: tuple[int, ...] = option((0, 1), "of weights and data", low=0, high=LARGEST_SEED)
    steps: int = option(150, "updates of each run", low=2, high=MOST_STEPS)
    points: int = option(14, "measurements in each run", low=2, high=10**5)
    batch_size: int = option(8, "windows in a batch, and in the probe's", low=1, high=2**20)
    vocabulary: int = option(2048, "tokens", low=2, high=2**22)
    context: int = option(64, "tokens in a window", low=2, high=2**20)
    data: tuple[str, ...] = option((), "text [default: the standard library]", kind="path")
    cache: str | None = option(None, "folder for tokenizers and tokens", kind="folder")
    out: str = option(str(FOLDER), "the folder of results", kind="folder")

    def __post_init__(self):
        check_options(self)


SETTINGS = ("steps", "points", "batch_size", "vocabulary", "context", "data")
"""Options that decide about the results, apart from size and seed."""


def check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Raises an `InputError` if an earlier result was made with other settings."""
    earlier = json.loads(path.read_text("utf-8"))["settings"]
    for name, value in settings.items():
        if earlier[name] != value:
            raise InputError(
                f"{path} was made with {name}={earlier[name]}; choose another --out. "
                f"Received: {name}={value}"
            )


def settings_of(options: CurvatureSizes) -> dict[str, Any]:
    """As JSON has them."""
    return json.loads(json.dumps({name: getattr(options, name) for name in SETTINGS}))


def measured(options: CurvatureSizes, size: str, seed: int, console) -> dict[str, Any]:
    """The points and the fits of both initialisations."""
    with tempfile.TemporaryDirectory() as folder:
        config = Smoothness(
            only=("initialisation",),
            blocks=False,
            size=size,
            seed=seed,
            steps=options.steps,
            points=options.points,
            batch_size=options.batch_size,
            vocabulary=options.vocabulary,
            context=options.context,
            data=options.data,
            cache=options.cache,
            out=folder,
        )
        table = recipe.run(config, console)
        points = {}
        for case in CASES:
            path = Path(folder) / "initialisation" / f"{case.replace(' ', '-')}.csv"
            columns = read_columns(path)
            points[case] = {
                name: np.asarray(columns[name]).tolist() for name in ("step", "loss", "curvature")
            }
    whole = {row["case"]: row for row in table if row["part"] == "all"}
    return made_by() | {
        "size": size,
        "seed": seed,
        "parameters": parameter_count("llama", SIZES[size], options.vocabulary, options.context),
        "settings": settings_of(options),
        "cases": {case: {"fit": whole[case], "points": points[case]} for case in CASES},
    }


def table(runs: Sequence[dict[str, Any]]) -> str:
    """The fits, a line for each size, initialisation and seed."""
    lines = [
        "| size | weights | initialisation | seed | loss | H0 | H1 | R2 | note |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for case in CASES:
            fit = run["cases"][case]["fit"]
            losses = f"{fit['first_loss']:.2f} to {fit['last_loss']:.2f}"
            cells = [_interval(fit, "H0"), _interval(fit, "H1"), _number(fit["R2"], ".2f")]
            lines.append(
                f"| {run['size']} | {run['parameters'] / 1e6:.1f} million | {case} | {run['seed']} "
                f"| {losses} | {' | '.join(cells)} | {fit['note']} |"
            )
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "" if value is None or not np.isfinite(value) else format(value, form)


def _interval(fit: dict[str, Any], name: str) -> str:
    value = _number(fit[name], ".3g")
    ends = [_number(fit[f"{name}_{end}"], ".3g") for end in ("low", "high")]
    return f"{value} [{', '.join(ends)}]" if value else ""


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Curvature against loss: a column for each size, a row for each initialisation."""
    sizes = list(dict.fromkeys(run["size"] for run in runs))
    figure = Figure(figsize=(4.2 * len(sizes), 7.2), layout="constrained")
    axes = figure.subplots(2, len(sizes), squeeze=False)
    for run in runs:
        for row, case in enumerate(CASES):
            chart = axes[row, sizes.index(run["size"])]
            found = run["cases"][case]
            fit, points = found["fit"], found["points"]
            colour = COLOURS[run["seed"] % len(COLOURS)]
            losses = np.array(points["loss"])
            chart.plot(
                losses,
                points["curvature"],
                linestyle="",
                marker="os^v"[run["seed"] % 4],
                markersize=4,
                color=colour,
                label=f"seed {run['seed']}",
            )
            if _number(fit["H0"], "g"):
                ends = np.array([losses.min(), losses.max()])
                chart.plot(ends, fit["H0"] + fit["H1"] * ends, color=colour, linewidth=1)
            millions = run["parameters"] / 1e6
            chart.set(title=f"{case}, {millions:.1f} million weights")
            chart.set(xlabel="loss on the probe's batch")
    for row in axes:
        row[0].set_ylabel("spectral norm of the Hessian")
    axes[0, 0].legend(frameon=False)
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110)


def write_report(folder: Path) -> Path:
    """The figure and the table, from the files of the runs."""
    runs = [json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")]
    order = list(SIZES)
    runs.sort(key=lambda run: (order.index(run["size"]), run["seed"]))
    draw(runs, folder / "curvature_sizes.png")
    settings = runs[0]["settings"]
    text = (
        "# Curvature against loss at three sizes\n\n"
        f"Llama-shaped language models, {settings['steps']} updates of SGD with batches of "
        f"{settings['batch_size']} x {settings['context']} tokens. H0 and H1: the fit of curvature "
        "= H0 + H1 loss with 95% intervals, where the points allow one. What was decided "
        f"beforehand: `benchmarks/quality/PROTOCOL.md`. Written by `{PROGRAM}`.\n\n"
        "![Curvature against loss](curvature_sizes.png)\n\n" + table(runs) + "\n"
    )
    path = folder / "CURVATURE_SIZES.md"
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def main(argv: Sequence[str] | None = None) -> Path:
    """The command line."""
    options = build(
        CurvatureSizes, parse([CurvatureSizes], argv, program=PROGRAM, description=__doc__)
    )
    console = make_console()
    with one_line_errors(PROGRAM):
        folder = make_folder(Path(options.out))
        for size in options.sizes:
            for seed in options.seeds:
                path = folder / f"{size}-{seed}.json"
                if path.exists():
                    check_settings(path, settings_of(options))
                else:
                    write_json(path, measured(options, size, seed, console))
        report = write_report(folder)
        console.print(f"Figure, table and data: {report}", highlight=False, soft_wrap=True)
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
