"""Curvature against loss on real networks: the papers' study, at the size of the machine.

    python -m recipes.smoothness --quick        # a few minutes on two cores
    python -m recipes.smoothness                # longer runs, a larger language model
    python -m recipes.smoothness --size 70m --context 1024 --batch-size 32   # the papers' model

Four studies, each with a figure, a table and its data: two initialisations of a GPT (whole
network and per block), its optimizers and rates, other architectures, other losses. Every point
is the spectral norm of the Hessian of a fixed batch, by Lanczos, not a proxy.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.options import build, parse
from recipes.common.files.writing import make_folder, write_json
from recipes.common.results.environment import describe_environment
from recipes.common.results.tables import print_table, write_table
from recipes.smoothness.cases import cases
from recipes.smoothness.config import Smoothness
from recipes.smoothness.data import load_data
from recipes.smoothness.figure import draw
from recipes.smoothness.measurement import measure, row_of
from recipes.text.batches import TokenBatches
from recipes.text.tokens import load_corpus

PROGRAM = "python -m recipes.smoothness"


def run(config: Smoothness, console: Console) -> list[dict]:
    """Runs the studies and returns the table."""
    config = config.resolved()
    began = time.perf_counter()
    folder = make_folder(Path(config.out))
    corpus = load_corpus(config.data, config.vocabulary, cache=config.cache)
    tokens = TokenBatches(corpus.training, config.context, config.batch_size, config.seed)
    held = TokenBatches(corpus.validation, config.context, config.probe_size, config.seed)
    x, y, source = load_data(2048 if config.quick else 20000)
    console.print(
        f"Text: {corpus.source}\nImages: {source}\nGPT: {config.shape}, {config.steps} updates, "
        f"{config.points} measurements a run, on {keras.backend.backend()}",
        highlight=False,
        soft_wrap=True,
    )

    def image_batches():
        rng = np.random.default_rng(config.seed)
        while True:
            chosen = rng.integers(0, len(x), config.batch_size)
            yield x[chosen], y[chosen]

    table, seconds = [], {}
    for study, runs in cases(config, x.shape[1:], 10).items():
        if config.only and study not in config.only:
            continue
        start = time.perf_counter()
        (folder / study).mkdir(parents=True, exist_ok=True)
        probes = {}
        for case in runs:
            clock = time.perf_counter()
            if case.text:
                data, batch = tokens.starting_at(0), held[0]
            else:
                data, batch = image_batches(), (x[-config.probe_size :], y[-config.probe_size :])
            probe = measure(case, config, data, batch, folder / study)
            probes[case.name] = probe
            losses = probe.column("loss")
            table.append(row_of(study, case.name, "all", losses, probe.column("curvature")))
            for name in probe.blocks:
                values = probe.column(f"curvature/{name}")
                table.append(row_of(study, case.name, name, losses, values))
            console.print(
                f"{study}, {case.name}: loss {losses[0]:.3f} to {losses[-1]:.3f}, "
                f"{time.perf_counter() - clock:.0f} s",
                highlight=False,
            )
        draw(study, probes, folder / f"{study}.png")
        seconds[study] = round(time.perf_counter() - start, 1)
    write_table(table, folder / "fits")
    columns = ("study", "case", "part", "H0", "H1", "R2", "C", "rho", "note")
    print_table([{c: row[c] for c in columns} for row in table], console, "curvature = H0 + H1 f")
    summary = {
        "command": " ".join([PROGRAM, *sys.argv[1:]]),
        "config": dataclasses.asdict(config),
        "data": {"text": corpus.source, "images": source},
        "seconds": seconds,
        "total_seconds": round(time.perf_counter() - began, 1),
        "fits": table,
        "environment": describe_environment(),
    }
    write_json(folder / "summary.json", summary)
    console.print(f"Figures, tables and data: {folder} ({summary['total_seconds']:.0f} s)")
    return table


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """The command line."""
    given = parse([Smoothness], argv, program=PROGRAM, description=__doc__)
    with one_line_errors(PROGRAM):
        return run(build(Smoothness, given), make_console())
