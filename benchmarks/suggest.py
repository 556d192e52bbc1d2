"""How good a suggested rate is: `python -m benchmarks.suggest`.

On small real models: what `suggest` recommends, and the loss after 200 updates at that rate and
at six others a factor 3 apart, at a constant rate and with the suggested loss-driven factor. The
loss is that of the training objective on a fixed part of the training data, without dropout. All
runs of a workload share the weights and the batches. Printed and merged into
`benchmarks/results/suggest.json`, one entry a backend.
"""

import argparse
import json

import keras
import numpy as np

from benchmarks.common import RESULTS
from benchmarks.workloads import Workload, workloads
from keras_h0h1 import LossAware
from keras_h0h1.suggestion import Suggestion, suggest
from recipes.common.console import one_line_errors
from recipes.common.environment import describe_environment


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
    driven = LossAware(workload.optimizer(suggestion.schedule(base=1e-3)))
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
    parser.add_argument("--workloads", default="mlp,cnn,gpt", help="names, with commas")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    backend = keras.backend.backend()
    records = []
    for workload in workloads(tuple(arguments.workloads.split(","))):
        suggestion, record = run(workload, arguments.updates, arguments.seed)
        records.append(record)
        print(f"\n{workload.name} ({backend})\n{suggestion}\n\n{table(record)}", flush=True)
        _write(backend, arguments, records)


def _write(backend: str, arguments, records: list[dict]) -> None:
    path = RESULTS / "suggest.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results[backend] = {
        "command": f"KERAS_BACKEND={backend} python -m benchmarks.suggest "
        f"--workloads {arguments.workloads} --updates {arguments.updates} --seed {arguments.seed}",
        "environment": describe_environment(),
        "runs": records,
    }
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with one_line_errors("benchmarks.suggest"):
        main()
