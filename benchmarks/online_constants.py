"""Steps with estimated constants against the true ones: `python -m benchmarks.online_constants`.

Gradient descent in NumPy float64 on every convex problem of `keras_h0h1.theory.problems` and on
operations on them, from a gap of 10^4 to one of 10^-6, and on random instances of every class,
convex or not. Printed, and written to `benchmarks/results/online_constants.json`: the steps of

* estimated constants, `AdaptiveGD()`, and how many of them took a step back;
* the same rule without taking back ("forward only");
* the sharp rule 1/(H0 + H1 gap^rho) with the true constants;
* the fixed step 1/(H0 + H1 gap_0^rho), the longest one that those constants prove safe;
* AdGD (arXiv 1910.09529), which compares gradients and keeps a copy of the last one.
"""

import argparse
import dataclasses

import numpy as np

from benchmarks.common import write_result
from keras_h0h1 import online_constants
from keras_h0h1.theory import descent, problems

EPSILON = 1e-6


def convex_problems() -> dict[str, problems.Problem]:
    """Every convex class of `theory.problems`, and sums, means, affine maps and ridges of them."""
    random = np.random.default_rng(0)
    signs = np.where(random.normal(size=30) > 0, 1.0, -1.0)
    cosh = problems.Cosh(1.0, 2.0)
    return {
        "Cosh": problems.Cosh(),
        "Cosh, 10 dimensions": problems.Cosh(2.0, 3.0, dimension=10),
        "Separation": problems.Separation(),
        "Quadratic, condition 100": problems.Quadratic(np.geomspace(0.1, 10.0, 10)),
        "HardFamily": problems.HardFamily(1.0, 1.0),
        "HardFunction": problems.HardFunction(4.0),
        "NormPower, p = 3": problems.NormPower(3.0, dimension=3),
        "NormPower, p = 6": problems.NormPower(6.0, dimension=3),
        "ExponentialMean": problems.ExponentialMean(random.normal(size=(8, 4)), mu=0.2),
        "Logistic": problems.Logistic(random.normal(size=(30, 4)), signs),
        "Logistic, separable": problems.Logistic(random.normal(size=(4, 8)), signs[:4]),
        "affine": problems.Cosh(dimension=4).affine(random.normal(size=(4, 3)), np.ones(4)),
        "sum": cosh.affine([[1.0]], [1.0]) + problems.HardFamily(2.0, 1.0),
        "mean and ridge": problems.mean([cosh, cosh.affine([[2.0]], [-1.0])]).ridge(0.3),
        "scaled and shifted": 3.0 * problems.Separation(0.2) + 1.0,
    }


def random_problem(random) -> problems.Problem:
    """A random class in 1 to 20 dimensions, through a linear map of a condition up to 1000."""
    n, H0, H1 = int(random.integers(1, 21)), *10.0 ** random.uniform(-2, 2, size=2)
    x, y = random.normal(size=(3 * n, n)), random.choice([-1.0, 1.0], size=3 * n)
    A = np.linalg.qr(random.normal(size=(n, n)))[0] * 10.0 ** random.uniform(-1.5, 1.5, size=n)
    makers = [
        lambda: problems.Cosh(H0, H1, n).affine(A),
        lambda: problems.Quadratic(10.0 ** random.uniform(-3, 3, size=n)).affine(A),
        lambda: problems.NormPower(2.1 + 4.0 * random.random(), n).affine(A),
        lambda: problems.Logistic(x, y).affine(A),
        lambda: problems.Logistic(x, y).ridge(H0),
        lambda: problems.ExponentialMean(x, mu=H0),
        lambda: problems.HardFamily(H0, H1).affine(A[:1]),
        lambda: problems.HardFunction(H0),
        lambda: problems.Separation(random.uniform(0.001, 1.0)),
        lambda: problems.mean(
            [problems.Cosh(H0, h, n).affine(A, x[i]) for i, h in enumerate((H1, 1.0))]
        ),
        lambda: problems.DoubleWell(),
        lambda: problems.LinearChain(int(random.integers(2, 6)), *random.normal(size=2)),
        lambda: problems.ScalarFactorisation(*random.normal(size=2)),
        lambda: problems.TwoLayerNet(x, y, int(random.integers(1, 5)), H0, H1),
    ]
    return makers[int(random.integers(len(makers)))]()


def start_at(problem: problems.Problem, gap: float, random) -> np.ndarray:
    """A point in a random direction from a minimiser, or from 0, where the gap is `gap`.

    A random point where there is none, as on a function that is bounded in that direction.
    """
    base = np.zeros(problem.dimension)
    if problem.minimisers is not None:
        base = problem.minimisers[0]
    for _ in range(20):
        direction = random.normal(size=problem.dimension)
        near, far = 0.0, 1.0
        with np.errstate(all="ignore"):
            while far < 1e9 and problem.gap(base + far * direction) < gap:
                far *= 2.0
            if far >= 1e9 or problem.gap(base) >= gap:
                continue
            for _ in range(100):
                middle = 0.5 * (near + far)
                below = problem.gap(base + middle * direction) < gap
                near, far = (middle, far) if below else (near, middle)
        return base + far * direction
    return random.normal(size=problem.dimension)


@dataclasses.dataclass
class Run:
    """Steps to the gap (-1: not reached), steps that took one back, longest run of rises."""

    steps: int
    taken_back: int
    rises_in_a_row: int
    diverged: bool


def online(problem, start, max_steps, take_back=True) -> Run:
    """Gradient descent with estimated constants; without taking back it goes on from a rise."""
    floor = problem.f_star if problem.minimum is None else problem.minimum
    state, w, copy = online_constants.initial_state(), start, start
    last, taken_back, run, longest = np.inf, 0, 0, 0
    with np.errstate(all="ignore"):
        for k in range(max_steps + 1):
            loss, gradient = problem.value(w), problem.gradient(w)
            norm = np.linalg.norm(gradient)
            rounding = 4 * np.finfo(float).eps * max(abs(loss), abs(last))
            run = run + 1 if k and not (loss <= last + rounding or not np.isfinite(last)) else 0
            longest, last = max(longest, run), loss
            if loss - floor <= EPSILON:
                return Run(k, taken_back, longest, False)
            state = online_constants.advance(state, loss, norm, problem.f_star)
            if state["taken_back"] and take_back:
                w, taken_back = copy, taken_back + 1
                continue
            if state["taken_back"]:
                bound = state["H0"] + state["H1"] * max(loss - problem.f_star, 0.0)
                state |= {"taken_back": 0.0, "rate": 1.0 / bound, "previous_rate": 1.0 / bound}
                state |= {"previous_loss": loss, "previous_norm": norm}
            if not np.isfinite(norm) or not np.isfinite(loss):
                return Run(-1, taken_back, longest, True)
            w, copy = w - state["rate"] * gradient, w
    return Run(-1, taken_back, longest, not np.all(np.isfinite(w)))


def adgd(problem, start, max_steps) -> Run:
    """AdGD, algorithm 1 of arXiv 1910.09529, with a thousandth of Polyak's step as its first."""
    floor = problem.f_star if problem.minimum is None else problem.minimum
    w, before, theta, last, run, longest = start, None, np.inf, np.inf, 0, 0
    rate = None
    with np.errstate(all="ignore"):
        for k in range(max_steps + 1):
            loss, gradient = problem.value(w), problem.gradient(w)
            run = run + 1 if k and loss > last else 0
            longest, last = max(longest, run), loss
            if loss - floor <= EPSILON:
                return Run(k, 0, longest, False)
            if not np.isfinite(loss) or not np.all(np.isfinite(gradient)):
                return Run(-1, 0, longest, True)
            if before is None:
                rate = 1e-3 * (loss - problem.f_star) / np.sum(gradient**2)
            else:
                distance = np.linalg.norm(w - before[0])
                change = np.linalg.norm(gradient - before[1])
                longest_rate = distance / (2**0.5 * change) if change > 0 else np.inf
                new = min((1.0 + theta) ** 0.5 * rate, longest_rate)
                new = new if np.isfinite(new) else 2.0 * rate
                theta, rate = new / rate, new
            before = (w, gradient)
            w = w - rate * gradient
    return Run(-1, 0, longest, False)


def with_true_constants(problem, start, max_steps) -> tuple[int, int]:
    """Steps of the sharp rule and of the fixed step; -1 where `max_steps` were not enough."""
    fixed = 1.0 / float(problem.smoothness.bound(problem.value(start)))
    rules = (descent.rule(problem.smoothness), lambda loss, norm, step: fixed)
    return tuple(
        int(descent.descend(problem, rule, start, EPSILON, max_steps).steps) for rule in rules
    )


def table(max_steps: int) -> list[dict]:
    """One row per convex problem, from a gap of 10^4."""
    rows = []
    for name, problem in convex_problems().items():
        start = start_at(problem, 1e4, np.random.default_rng(1))
        if name == "Separation":
            start = problem.start(1e4)
        auto = online(problem, start, max_steps)
        forward = online(problem, start, max_steps, take_back=False)
        gradients = adgd(problem, start, max_steps)
        sharp, fixed = with_true_constants(problem, start, max_steps)
        row = {"problem": name, "H0": problem.H0, "H1": problem.H1, "rho": problem.rho}
        row |= {"auto": auto.steps, "taken_back": auto.taken_back, "forward_only": forward.steps}
        row |= {"adgd": gradients.steps, "sharp": sharp, "fixed": fixed}
        row["ratio"] = auto.steps / (max_steps if sharp < 0 else sharp)
        rows.append(row)
    return rows


def search(instances: int, max_steps: int) -> dict:
    """Counts over random instances: divergence, rises in a row, arrivals."""
    random = np.random.default_rng(0)
    methods = {
        "auto": online,
        "forward_only": lambda *arguments: online(*arguments, take_back=False),
        "adgd": adgd,
    }
    counts = {
        name: dict.fromkeys(("diverged", "rose_twice_in_a_row", "reached"), 0) for name in methods
    }
    for _ in range(instances):
        problem = random_problem(random)
        start = start_at(problem, 10.0 ** random.uniform(-2, 5), random)
        for name, method in methods.items():
            run = method(problem, start, max_steps)
            counts[name]["diverged"] += run.diverged
            counts[name]["rose_twice_in_a_row"] += run.rises_in_a_row > 1
            counts[name]["reached"] += run.steps >= 0
    return counts


def main(arguments=None) -> None:
    """Prints the table and writes the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.online_constants")
    parser.add_argument("--instances", type=int, default=1000, help="random instances")
    parser.add_argument("--steps", type=int, default=5000, help="limit for each convex problem")
    parser.add_argument("--search-steps", type=int, default=60, help="limit for each instance")
    options = parser.parse_args(arguments)
    rows = table(options.steps)
    print("steps from a gap of 10^4 to 10^-6 (taken back: among those of auto)")
    columns = ("auto", "taken_back", "forward_only", "adgd", "sharp", "fixed")
    print("| problem |", *(f"{column} |" for column in columns), "auto / sharp |")
    print("|---" * (len(columns) + 2) + "|")
    for row in rows:
        shown = [f"> {options.steps}" if row[c] < 0 else str(row[c]) for c in columns]
        below = "< " if row["sharp"] < 0 else ""
        print(f"| {row['problem']} |", *(f"{s} |" for s in shown), f"{below}{row['ratio']:.3g} |")
    worst = max(rows, key=lambda row: row["ratio"])
    print(f"worst ratio: {worst['ratio']:.2f} ({worst['problem']})")
    counts = search(options.instances, options.search_steps)
    print(f"{options.instances} random instances, at most {options.search_steps} steps each:")
    for name, count in counts.items():
        print(f"  {name}: {count}")
    result = {
        "settings": vars(options),
        "convex_problems": rows,
        "worst_ratio": worst["ratio"],
        "random_instances": counts,
    }
    # Computed in NumPy: the same on every backend.
    write_result("online_constants", result, of_backend=False)


if __name__ == "__main__":
    main()
