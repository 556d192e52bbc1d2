"""Suggested base rates against the grids of `benchmarks.quality`: no training, but measurements.

The section of `quality/PROTOCOL.md` on `suggest` says what is compared and how the rule is chosen.
"""

import itertools
import json
import math
import statistics

import numpy as np

from benchmarks.common import RESULTS, made_by
from benchmarks.quality import records
from benchmarks.quality.workload import CORRUPTED, DEVELOPMENT, load_workload, workload_names
from keras_h0h1.suggestion import suggest
from keras_h0h1.suggestion.rule import recommend
from recipes.common.results.environment import describe_environment

MEASURED = RESULTS / "suggest_quality.json"
TABLE = RESULTS / "SUGGEST.md"
CUT = 20.0
PRESENT = (1, 0.25, 0.5)


def measure(name: str, seed: int) -> dict:
    """The suggestion for a workload, as `suggest` makes it before training."""
    workload = load_workload(name)
    model = workload.model(seed)
    if workload.start is not None:
        model.set_weights(workload.start(seed))
    model.compile(workload.optimizer(1e-3), **workload.compile())
    arrays = workload.training(seed, 16)
    batches = [tuple(array[i] for array in arrays) for i in range(16)]
    return suggest(model, batches, seed=seed).to_dict()


def names() -> list[str]:
    """The workloads whose grids are known."""
    return [n for n in workload_names() if load_workload(n).kind != CORRUPTED]


def measure_all(names: list[str]) -> None:
    """Measures what is not measured yet, and merges it into the file.

    Development workloads with the one seed that the rule is chosen on.
    """
    pairs = [
        (name, seed)
        for name in names
        for seed in ((0,) if load_workload(name).kind == DEVELOPMENT else (0, 1))
    ]
    for name, seed in pairs:
        found = read()
        if f"{name}/{seed}" not in found:
            suggestion = measure(name, seed)
            found[f"{name}/{seed}"] = {"suggestion": suggestion, "by": describe_environment()}
            content = made_by() | {"measured": found}
            MEASURED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print(f"{name}, seed {seed}: {suggestion['base']:.2g}", flush=True)


def read() -> dict:
    """The measurements by workload and seed."""
    if not MEASURED.exists():
        return {}
    return json.loads(MEASURED.read_text(encoding="utf-8"))["measured"]


def grid(folder, name: str, methods: str) -> dict[float, float]:
    """By rate, the best method's mean loss over the seeds; `methods` is the start of their names.

    Only rates that all methods have: a study that still runs has some in part.
    """
    by = {}
    for record in records.read(folder):
        if record["identity"]["workload"] == name and record["name"].startswith(methods):
            losses = by.setdefault((record["identity"]["rate"], record["name"]), [])
            losses.append(records.score(record))
    names, seeds = {method for _, method in by}, max(map(len, by.values()), default=0)
    complete = {key: statistics.mean(v) for key, v in by.items() if len(v) == seeds}
    rates = sorted({rate for rate, _ in by})
    return {
        rate: min(complete[rate, method] for method in names)
        for rate in rates
        if all((rate, method) in complete for method in names)
    }


def loss_at(rate: float, losses: dict[float, float]) -> float:
    """The loss at a rate between those of the grid, linear in the rate's logarithm."""
    rates = sorted(losses)
    return float(np.interp(math.log(rate), np.log(rates), [losses[r] for r in rates]))


def excess(rate: float, losses: dict[float, float]) -> float:
    """Percent above the best of the grid."""
    best = min(losses.values())
    return 100.0 * (loss_at(rate, losses) / best - 1.0)


def development() -> list[tuple[str, float, dict, dict[float, float]]]:
    """Of each development workload: its name, its weight, the measurement, the grid."""
    found, cases = read(), []
    for name in workload_names():
        if load_workload(name).kind == DEVELOPMENT:
            losses = grid(records.RESULTS / "choose", name, "linear-")
            cases.append((name, 1.0, found[f"{name}/0"]["suggestion"], losses))
    small = json.loads((RESULTS / "suggest.json").read_text(encoding="utf-8"))
    for backend, results in small.items():
        for run in results["runs"]:
            best = np.minimum(run["constant"], run["loss_driven"])[:-1]
            losses = dict(zip(run["rates"][:-1], map(float, best), strict=True))
            name = f"{run['workload']} ({backend})"
            cases.append((name, 1.0 / len(small), run["suggestion"], losses))
    return cases


def base_by(rule, marks: dict[str, float]) -> float:
    """The base rate by the three numbers of a candidate."""
    fast, blow_up, stable = rule
    rates = [
        share * marks[mark]
        for share, mark in ((fast, "fast"), (blow_up, "blow_up"), (stable, "stable_later"))
        if share is not None and mark in marks
    ]
    return min(rates)


def choose() -> str:
    """The ranking of the candidates, for optimizers like Adam and for SGD, as Markdown."""
    cases = development()
    text = []
    for kind, is_sgd in (("Adam and its kin", False), ("SGD", True)):
        mine = [case for case in cases if (case[2]["optimizer"] == "SGD") == is_sgd]
        total = sum(weight for _, weight, _, _ in mine)
        ranking = []
        for rule in itertools.product((1, 2, 3, 4), (0.1, 0.25, 0.5), (0.125, 0.25, 0.5, None)):
            numbers = [excess(base_by(rule, s["marks"]), losses) for _, _, s, losses in mine]
            weights = [weight for _, weight, _, _ in mine]
            cost = sum(w * min(n, CUT) for w, n in zip(weights, numbers, strict=True)) / total
            ranking.append((cost, rule, numbers))
        least = min(cost for cost, _, _ in ranking)
        taken = min((r for r in ranking if r[0] < least + 0.2), key=lambda r: _preference(r[1]))
        text += [
            f"## {kind}", "",
            "| fast, blow-up, stable | cost | " + " | ".join(n for n, _, _, _ in mine) + " |",
            "|---" * (len(mine) + 2) + "|",
        ]  # fmt: skip
        shown = sorted(ranking, key=lambda r: r[0])[:8]
        shown += [r for r in ranking if r[1] in (PRESENT, taken[1]) and r not in shown]
        for cost, rule, numbers in shown:
            label = ", ".join("-" if v is None else f"{v:g}" for v in rule)
            label += " (taken)" if rule == taken[1] else ""
            label += " (before)" if rule == PRESENT else ""
            cells = " | ".join(f"{n:+.1f}" for n in numbers)
            text.append(f"| {label} | {cost:.2f} | {cells} |")
        text.append("")
    return "\n".join(text)


def _preference(rule):
    changed = sum(a != b for a, b in zip(rule, PRESENT, strict=True))
    return (changed, *(math.inf if v is None else v for v in rule))


def report(folder) -> str:
    """The table: each measured workload's suggested rate against the grids in `folder`."""
    lines = [
        "| workload, seed | suggested | best rate | loss there | at the suggestion "
        "| above the best | with tuned linear |",
        "|---" * 7 + "|",
    ]
    for key, entry in read().items():
        name, s = key.split("/")[0], entry["suggestion"]
        is_development = load_workload(name).kind == DEVELOPMENT
        where = records.RESULTS / "choose" if is_development else folder
        # A development workload's grid has tuned linear warm-up alone.
        ours = grid(where, name, "linear-" if is_development else "self-tuned")
        linear = grid(where, name, "linear-")
        base = recommend_again(s)
        if not ours:
            lines.append(f"| {key} | {base:.2g} | not run | | | | |")
            continue
        best = min(ours, key=ours.get)
        beyond = excess(base, linear) if linear else math.nan
        lines.append(
            f"| {key} | {base:.2g} | {best:g} | {ours[best]:.4g} | {loss_at(base, ours):.4g} | "
            f"{excess(base, ours):+.1f}% | {beyond:+.1f}% |"
        )
    return "\n".join(lines) + "\n"


def document(folder) -> str:
    """The table and the choice, with what they are."""
    return f"""# Suggested base rates

`KERAS_BACKEND=jax python -m benchmarks.suggest`; what is compared, and how the rule was chosen:
`benchmarks/quality/PROTOCOL.md`. The losses are those of the grid at and around the suggested rate,
not of a training at it. On the development workloads "at the suggestion" is tuned linear warm-up,
on the others the self-tuned rule.

{report(folder)}
# The choice of the rule

The multiples of the rate up to which the loss falls fast, of that of the blow-up, and of the
largest stable rate; the excess over the best of each grid in percent, and the cost.

{choose()}"""


def recommend_again(suggestion: dict) -> float:
    """The base rate by the library's present rule, from a stored measurement."""
    losses = [math.nan if v is None else v for v in suggestion["losses"]]
    start, later = (suggestion[f"sharpness_{when}"] for when in ("at_start", "later"))
    return recommend(
        suggestion["rates"],
        losses,
        initial_loss=suggestion["initial_loss"],
        f_star=suggestion["f_star"],
        stable_at_start=start and start["largest_stable_rate"],
        stable_later=later and later["largest_stable_rate"],
        normalised=suggestion["optimizer"] != "SGD",
    ).base
