"""Measured steps against the proved bounds, on every problem with PL or Aiming."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.theory import bounds, problems
from keras_h0h1.theory.descent import descend, rule
from recipes.theory.experiment import Experiment, Result, tidy

# rule of the step -> the bounds that speak of it
BOUNDS = {
    "alimisis": ("pl_paper_printed", "pl_paper", "aiming_paper"),
    "sharp": ("pl_sharp",),
    "aiming": ("aiming",),
}
NAMES = {
    "pl_paper_printed": "PL, paper's step, as printed",
    "pl_paper": "PL, paper's step",
    "pl_sharp": "PL, sharp step",
    "aiming_paper": "Aiming, paper's step",
    "aiming": "Aiming, step θ/(2H₀ + H₁Δ)",
}


def instances():
    """Problems with a known minimum, and a start for each."""
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 3))
    y = np.where(x[:, 0] + random.normal(size=40) > 0, 1.0, -1.0)
    cosh = problems.Cosh(1.0, 1.0)
    return {
        "cosh": (problems.Cosh(1.0, 2.0), [2.5]),
        "separation": (problems.Separation(0.1), problems.Separation(0.1).start(100.0)),
        "hard function": (problems.HardFunction(1.0), [4.0]),
        "hard family": (problems.HardFamily(0.5, 2.0), [3.0]),
        "mean of exponentials": (
            problems.ExponentialMean(random.normal(size=(8, 3)), mu=0.5),
            random.normal(size=3) * 1.5,
        ),
        "logistic": (problems.Logistic(x, y), random.normal(size=3) * 2),
        "logistic + ridge": (problems.Logistic(x, y).ridge(0.1), random.normal(size=3) * 2),
        "sum of two": (cosh.affine([[1.0]], [1.0]) + cosh.affine([[1.0]], [-1.0]), [3.0]),
        "cosh of Aw + b": (
            problems.Cosh(dimension=3).affine(np.eye(3) + 0.3 * random.normal(size=(3, 3))),
            np.array([1.5, -1.0, 2.0]),
        ),
    }


def _at_most(name: str, problem, start, gap: float, epsilon: float) -> float | None:
    """The bound of that name on the steps; `None` where it says nothing about the problem."""
    try:
        if name.startswith("pl"):
            return float(getattr(bounds, name)(problem.smoothness, problem.mu, gap, epsilon))
        if problem.theta and problem.minimisers is not None:
            distance = float(problem.distance(start))
            return float(getattr(bounds, name)(problem.smoothness, distance, epsilon))
    except bounds.GuardError:
        pass  # Outside the guard.
    return None


def draw(figure: Figure, rows: list[dict], labels: list[str]) -> None:
    """For each bound, measured steps and bound of each problem."""
    axes = figure.subplots(1, len(NAMES), sharey=True)
    for index, (axis, name) in enumerate(zip(axes, NAMES.values(), strict=True)):
        for row in rows:
            if row["bound"] != name:
                continue
            y = labels.index(row["problem"])
            axis.plot([row["steps"], row["at most"]], [y, y], color="0.75", lw=2, zorder=1)
            first = "measured" if index == 0 and y == 0 else None
            axis.scatter(row["steps"], y, color="#0072B2", s=26, zorder=2, label=first)
            axis.scatter(row["at most"], y, color="#D55E00", s=30, marker="|", lw=2, zorder=2)
        axis.set_xscale("log")
        tidy(axis, name.replace(", ", ",\n", 1), "steps", "")
        axis.title.set_fontsize(8.5)
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].invert_yaxis()
    figure.legend(
        handles=[
            axes[0].scatter([], [], color="#0072B2", s=26, label="measured"),
            axes[0].scatter([], [], color="#D55E00", s=30, marker="|", lw=2, label="bound"),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Counts the steps of each rule on each problem and asks each bound that applies."""
    rows = []
    for label, (problem, start) in instances().items():
        start = np.asarray(start, dtype="float64")
        gap = float(problem.gap(start))
        epsilon = 1e-2 * min(gap, problem.H0 / problem.H1)
        for name, speaking in BOUNDS.items():
            result = None
            for bound in speaking:
                most = _at_most(bound, problem, start, gap, epsilon)
                if most is None:
                    continue
                if result is None:
                    step = rule(problem.smoothness, name)
                    result = int(descend(problem, step, start, epsilon, 100_000).steps)
                rows.append(
                    {
                        "problem": label,
                        "bound": NAMES[bound],
                        "steps": result,
                        "at most": most,
                        "steps / bound": result / most,
                    }
                )
        tick()
    broken = [row for row in rows if not 0 <= row["steps"] <= row["at most"]]
    tightest = max(rows, key=lambda row: row["steps / bound"])
    findings = [
        f"{len(rows)} bounds on {len(instances())} problems, {len(broken)} violated",
        f"The tightest: {tightest['bound']} on {tightest['problem']}, "
        f"{tightest['steps']} steps against at most {tightest['at most']:.0f}",
    ]

    return Result(rows, findings, lambda figure: draw(figure, rows, list(instances())))


EXPERIMENT = Experiment("bounds", "Measured steps against proved bounds", run, (9, 9))
