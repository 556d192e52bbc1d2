"""The networks' constants, tested and searched for violations: `python -m benchmarks.networks`.

Three parts. `tightness`: bound and curvature on 1,000 random instances of each network inside its
guards, and the bounds on the number of steps with counted steps. `certify`: the search of
`theory.certify` with ten times its usual budget on 50 instances of each. `dropped`: the same search
where one assumption at a time is dropped, which has to find a violation.

It writes `results/networks.json` and the tables of `results/NETWORKS.md` as it goes, and goes on
where it was stopped. All is computed in NumPy float64; processor seconds are those of this process.
"""

import argparse
import functools
import json
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.common import RESULTS, made_by
from benchmarks.network_assumptions import DROPPED
from benchmarks.network_assumptions import RADIUS as FAR
from benchmarks.network_instances import EQUAL, KINDS
from benchmarks.step_families import Barriers, Noisy
from keras_h0h1.theory import certify
from recipes.common.files.writing import write_json

FILE = RESULTS / "networks.json"
# All but the last two, which repeat a network with other constants.
REQUIRED = tuple(KINDS)[:6]
INSTANCES, SEARCHES, DROPS = 1000, 50, 10
BUDGET = {"samples": 5120, "segments": 320, "ascent_steps": 600}  # ten times the defaults
RADIUS = 10.0
LARGEST = 12  # parameters of a network that is searched; the time grows with their square


def generator(kind: str, seed: int) -> np.random.Generator:
    """The random numbers of an instance; each kind has its own."""
    return np.random.default_rng([seed, *kind.encode()])


def search(kind: str, seed: int) -> dict:
    """Looks for a violation on one instance, with the tenfold budget."""
    began = time.process_time()
    random = generator(kind, seed)
    instance = KINDS[kind](random)
    while instance.problem.dimension > LARGEST:
        instance = KINDS[kind](random)
    found = certify.find_violation(
        instance.problem,
        instance.smoothness,
        restrict=instance.restrict,
        radius=RADIUS,
        seed=seed,
        **BUDGET,
    )
    return {
        "seed": seed,
        "dimension": instance.problem.dimension,
        "violated": found.violated,
        "curvature / bound": found.ratio,
        "found by": found.search,
        "points": found.evaluations,
        "processor seconds": round(time.process_time() - began, 2),
    }


def load() -> dict:
    """What an earlier run has left."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


@functools.cache
def _made() -> dict:
    return made_by()


def save(part: str, result: dict) -> None:
    """Writes one part of the record; the others stay as they are."""
    record = load() | {part: _made() | {"results": result}}
    write_json(FILE, {name: record[name] for name in PARTS if name in record})


def run_certify(kinds: Sequence[str] = REQUIRED) -> None:
    """Searches the instances that have not been searched.

    Processes with other kinds may run beside it.
    """
    for kind in kinds:
        rows = load().get("certify", {}).get("results", {}).get(kind, [])
        for seed in range(len(rows), SEARCHES + 1):  # once more, to save what is complete
            if seed < SEARCHES:
                rows.append(search(kind, seed))
            done = load().get("certify", {}).get("results", {}) | {kind: rows}
            save("certify", {name: done[name] for name in KINDS if name in done})
        worst = max(row["curvature / bound"] for row in rows)
        violated = sum(row["violated"] for row in rows)
        print(f"certify: {kind}: {len(rows)} instances, {violated} violated, worst {worst:.4f}")


def dropped(name: str, seed: int) -> certify.Certificate:
    """Looks for a violation where an assumption does not hold, with the usual budget."""
    claim = DROPPED[name](np.random.default_rng(seed))
    return certify.find_violation(
        claim.problem, claim.smoothness, restrict=claim.restrict, radius=FAR, seed=seed
    )


def run_dropped() -> None:
    """Drops each assumption in turn, on ten instances."""
    result = {}
    for name in DROPPED:
        found, seconds = [], []
        for seed in range(DROPS):
            began = time.process_time()
            found.append(dropped(name, seed))
            seconds.append(time.process_time() - began)
        result[name] = {
            "instances": DROPS,
            "violated": sum(c.violated for c in found),
            "smallest curvature / bound": min(c.ratio for c in found),
            "longest processor seconds": round(max(seconds), 2),
        }
        print(f"dropped: {name}: {result[name]}")
    save("dropped", result)


def tightness_of(bound: np.ndarray, measured: np.ndarray) -> dict:
    """How far bounds are above what they bound, an entry or a row for each instance."""
    measured, bound = np.atleast_1d(measured), np.atleast_1d(bound)
    ratios = (bound / np.where(measured > 0, measured, np.nan)).reshape(len(bound), -1)
    best = np.nanmin(ratios, axis=1)
    return {
        "instances": len(ratios),
        "violations": int(np.sum(ratios < 1 - 1e-9)),
        "tightest": float(np.nanmin(ratios)),
        "median": float(np.nanmedian(ratios)),
        "loosest": float(np.nanmax(ratios)),
        "within 1%": int(np.sum(best <= 1.01)),
    }


def curvatures(kind: str, count: int = INSTANCES) -> tuple[np.ndarray, np.ndarray]:
    """Bounds and curvatures at the points of random instances."""
    bounds, measured = [], []
    for seed in range(count):
        instance = KINDS[kind](generator(kind, seed))
        bounds.append(instance.smoothness.bound(instance.problem.value(instance.points)))
        measured.append(instance.problem.curvature(instance.points))
    return np.array(bounds), np.array(measured)


def equalities(kind: str, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """The same where the bound is attained: an instance and a single point each."""
    pairs = [EQUAL[kind](generator(kind, seed)) for seed in range(count)]
    bounds = [i.smoothness.bound(i.problem.value(i.points)) for i in pairs]
    return np.array(bounds), np.array([i.problem.curvature(i.points) for i in pairs])


def run_tightness() -> None:
    """Compares bounds with curvatures and with counted steps."""
    result = {"curvature": {}, "equality": {}, "steps": {}}
    for kind in KINDS:
        result["curvature"][kind] = tightness_of(*curvatures(kind))
        print(f"tightness: {kind}: {result['curvature'][kind]}", flush=True)
    for kind in EQUAL:
        result["equality"][kind] = tightness_of(*equalities(kind))
    sharp, limits = Barriers(1).sharp_steps()
    for name, limit in limits.items():
        result["steps"][name] = tightness_of(limit, sharp)
    aiming, limit = Barriers(2).aiming_steps()
    result["steps"]["aiming_power"] = tightness_of(np.ceil(limit), aiming)
    chosen, times, limit = Noisy(2).hitting_times()
    result["steps"]["abc_hitting_time"] = tightness_of(limit[chosen], times[chosen])
    moved, bound = (np.stack(part, axis=1) for part in zip(*Noisy(0).step_bounds(1.0), strict=True))
    result["steps"]["noisy_step (gap after it)"] = tightness_of(bound, moved)
    for part in ("equality", "steps"):
        for name, row in result[part].items():
            print(f"{part}: {name}: {row}")
    save("tightness", result)


def table(title: str, rows: dict[str, dict]) -> str:
    """A Markdown table of dictionaries with the same keys."""
    columns = list(next(iter(rows.values())))
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(rows: list[dict]) -> dict:
    """The searches of one kind in one row."""
    return {
        "instances": len(rows),
        "violated": sum(row["violated"] for row in rows),
        "largest curvature / bound": max(row["curvature / bound"] for row in rows),
        "points searched in each": max(row["points"] for row in rows),
        "processor seconds, all": round(sum(row["processor seconds"] for row in rows), 1),
    }


def tables() -> str:
    """The text of `NETWORKS.md`, from the record."""
    record, text = load(), ["# The networks' constants\n"]
    texts = {
        "tightness": "Bound / curvature, and bound / counted steps. *Within 1%*: instances with a "
        "point where the bound is that tight. *Equality*: instances made to attain it.",
        "certify": f"Searches with ten times the usual budget, `{BUDGET}`, radius {RADIUS:g}.",
        "dropped": "One assumption dropped, the usual budget: every search has to find a "
        "violation.",
    }
    for part, sentence in texts.items():
        if part not in record:
            continue
        text += [f"\n## {part.capitalize()}\n", f"{sentence} `{record[part]['command']}`\n"]
        results = record[part]["results"]
        if part == "certify":
            results = {"network": {kind: summary(rows) for kind, rows in results.items()}}
        if part == "dropped":
            results = {"assumption": results}
        text += [table(title, rows) + "\n" for title, rows in results.items()]
    return "\n".join(text)


PARTS = {"tightness": run_tightness, "dropped": run_dropped, "certify": run_certify}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; `--kinds` is for the searches, `--parts` alone makes the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS))
    given = parser.parse_args(argv)
    if given.kinds and given.parts != ["certify"]:
        parser.error(f"--kinds is for --parts certify alone. Received: --parts {given.parts}")
    for part in given.parts:
        PARTS[part](*[given.kinds] * bool(given.kinds))
    (RESULTS / "NETWORKS.md").write_text(tables(), encoding="utf-8")


if __name__ == "__main__":
    main()
