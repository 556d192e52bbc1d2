"""Steps to a gap of 1e-6 against the gap at the start: adaptive and fixed steps."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.theory import bounds, problems
from keras_h0h1.theory.descent import rule
from recipes.theory.experiment import Experiment, Result, fixed, power_of, steps_of, style, tidy

EPSILON = 1e-6
ADAPTIVE = {
    "paper: 1/(10 + 20 Δ)": "alimisis",
    "sharp: 1/(1 + Δ)": "sharp",
    "envelope-optimal": "envelope",
    "paper B's: ½ min(1, 1/(3 Δ))": "power",
}
FIXED = ("fixed: 1/(1 + Δ₀)", "fixed: 0.99 of the largest stable")


def draw(figure: Figure, gaps: np.ndarray, steps: dict[str, np.ndarray]) -> None:
    """Steps against the gap at the start; of the adaptive rules on a linear axis too."""
    left, right = figure.subplots(1, 2)
    for index, (label, count) in enumerate(steps.items()):
        left.loglog(gaps, count, label=label, **style(index))
        if label in ADAPTIVE:
            right.semilogx(gaps, count, label=label, **style(index))
    tidy(left, "All rules, both axes logarithmic", "gap at the start, Δ₀", "steps to Δ ≤ 1e-6")
    tidy(right, "Adaptive rules: a line in ln Δ₀", "gap at the start, Δ₀", "steps to Δ ≤ 1e-6")
    right.set_ylim(bottom=0)
    left.legend(fontsize=8, frameon=False)


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Counts the steps of each rule for each gap at the start."""
    problem = problems.Separation(0.1)
    gaps = np.geomspace(10, 1e4 if quick else 1e5, 7 if quick else 17)
    starts = np.stack([problem.start(gap) for gap in gaps])
    steps = {}
    for label, name in ADAPTIVE.items():
        result = steps_of(problem, rule(problem.smoothness, name), starts, EPSILON)
        steps[label] = result.steps
        tick()
    stable = np.array([bounds.largest_stable_step(problem.smoothness, gap) for gap in gaps])
    sizes = (1 / problem.smoothness.bound(problem.value(starts)), 0.99 * stable)
    for label, size in zip(FIXED, sizes, strict=True):
        steps[label] = steps_of(problem, fixed(size), starts, EPSILON).steps
        tick()
    above = steps_of(problem, fixed(1.01 * stable), starts, EPSILON, 100_000)
    tick()

    rows, findings = [], []
    for label, count in steps.items():
        logarithmic = np.polyfit(np.log(gaps), count, 1)[0]
        row = {"step": label}
        for gap in (10.0, 100.0, 1e3, 1e4):
            i = int(np.argmin(np.abs(np.log(gaps / gap))))
            row[f"Δ₀ = {gap:g}"] = int(count[i])
        row["steps per factor e of Δ₀"] = float(logarithmic) if label in ADAPTIVE else None
        row["exponent of Δ₀"] = power_of(gaps, count)
        rows.append(row)
        if label in ADAPTIVE:
            line = np.polyval(np.polyfit(np.log(gaps), count, 1), np.log(gaps))
            error = float(np.max(np.abs(count - line)))
            findings.append(
                f"{label}: steps = {logarithmic:.2f} ln(Δ₀) + const, off by at most {error:.1f}"
            )
        else:
            findings.append(f"{label}: steps grow like Δ₀^{power_of(gaps, count):.3f}")
    findings.append(
        "fixed, 1.01 of the largest stable: diverges from "
        f"{int(np.sum(above.diverged))} of {len(gaps)} starts"
    )

    data = {"gaps": gaps.tolist(), "steps": {k: v.tolist() for k, v in steps.items()}}
    data["diverged at 1.01"] = above.diverged.tolist()
    return Result(rows, findings, lambda figure: draw(figure, gaps, steps), data)


EXPERIMENT = Experiment(
    "separation", "Adaptive against fixed steps on (cosh w₁ − 1) + 0.05 w₂²", run, (7, 7)
)
