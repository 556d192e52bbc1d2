"""How good a suggested rate is: `python -m benchmarks.suggest`.

Without arguments: `suggest` on each workload of `benchmarks.quality`, whose losses over a grid of
rates are known, and a table (`benchmarks.suggestions`). `choose` ranks the candidates for the rule,
`report` writes the table anew; `train` is the rest of this file.

On small real models: what `suggest` recommends, and the loss after 200 updates at that rate and
at six others a factor 3 apart, at a constant rate and with the suggested loss-driven factor. The
loss is that of the training objective on a fixed part of the training data, without dropout. All
runs of a workload share the weights and the batches. Printed and merged into
`benchmarks/results/suggest.json`, one entry a backend.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from benchmarks import suggestions
from benchmarks.common import RESULTS, made_by
from benchmarks.quality import records
from benchmarks.workloads import Workload, workloads
from keras_h0h1 import LossAware
from keras_h0h1.suggestion import Suggestion, suggest
from recipes.common.command_line.console import one_line_errors
from recipes.common.files.reading import read_json
from recipes.common.files.writing import write_json


def final_losses(workload: Workload, optimizer, rates, updates: int, seed: int) -> list[float]:
    """The loss after `updates` at each base rate, from the same weights on the same batches."""
    model = workload.compiled(optimizer, seed)
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    beginning = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    x, y = workload.data
    needed, rng = updates * workload.batch_size, np.random.default_rng(seed + 1)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(-(-needed // len(x)))])[:needed]
    losses = []
    for rate in rates:
        for variable, value in zip(variables, beginning, strict=True):
            variable.assign(value)
        optimizer.learning_rate = rate
        model.fit(x[order], y[order], batch_size=workload.batch_size, shuffle=False, verbose=0)
        losses.append(model.evaluate(x[:1024], y[:1024], verbose=0))
    return losses


def run(workload: Workload, updates: int, seed: int) -> tuple[Suggestion, dict]:
    """The suggestion, and the losses of both schedules at its rate and at the grid's."""
    model = workload.compiled(workload.optimizer(1e-3), seed)
    suggestion = suggest(model, *workload.data, batch_size=workload.batch_size, seed=seed)
    rates = [*workload.rates, suggestion.base]
    plain = workload.optimizer(1e-3)
    driven = LossAware(workload.optimizer(suggestion.schedule(base=1e-3, C=suggestion.C)))
    record = {
        "workload": workload.name,
        "seed": seed,
        "rates": rates,
        "constant": final_losses(workload, plain, rates, updates, seed),
        "loss_driven": final_losses(workload, driven, rates, updates, seed),
        "suggestion": suggestion.to_dict(),
    }
    return suggestion, record


def table(record: dict) -> str:
    """The losses as Markdown; the suggestion in the last column."""
    rates = [f"{rate:.2g}" for rate in record["rates"]]
    rows = [
        ["", *rates[:-1], f"suggested, {rates[-1]}"],
        ["---"] * (len(rates) + 1),
        ["constant", *(f"{loss:.4g}" for loss in record["constant"])],
        [
            f"loss-driven, rho = {record['suggestion']['rho']:g}",
            *(f"{loss:.4g}" for loss in record["loss_driven"]),
        ],
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Runs the workloads, prints the tables and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "action", nargs="?", default="measure", choices=("measure", "choose", "report", "train")
    )
    parser.add_argument("--workloads", help="names, with commas; all, or mlp,cnn,gpt for train")
    parser.add_argument("--grids", help="results of the study `test` in another folder")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.action != "train":
        _with_known_grids(arguments)
        return
    arguments.workloads = arguments.workloads or "mlp,cnn,gpt"
    backend = keras.backend.backend()
    results = []
    for workload in workloads(tuple(arguments.workloads.split(","))):
        suggestion, record = run(workload, arguments.updates, arguments.seed)
        results.append(record)
        print(f"\n{workload.name} ({backend})\n{suggestion}\n\n{table(record)}", flush=True)
        _write(backend, results)


def _with_known_grids(arguments) -> None:
    names = arguments.workloads.split(",") if arguments.workloads else suggestions.names()
    if arguments.action == "measure":
        suggestions.measure_all(names)
    if arguments.action == "choose":
        print(suggestions.choose())
        return
    folder = Path(arguments.grids) if arguments.grids else records.RESULTS / "test"
    text = suggestions.document(folder)
    suggestions.TABLE.write_text(text, encoding="utf-8")
    print(text)


def _write(backend: str, runs: list[dict]) -> None:
    """Puts the runs of this backend beside those of the others."""
    path = RESULTS / "suggest.json"
    results = read_json(path) if path.exists() else {}
    write_json(path, results | {backend: made_by() | {"runs": runs}})


if __name__ == "__main__":
    with one_line_errors("benchmarks.suggest"):
        main()
