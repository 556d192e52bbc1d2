"""General rho: steps on |w|^p, where rho = (p - 2)/p and the inequality is an equality."""

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.theory import problems
from keras_h0h1.theory.descent import rule
from recipes.theory.experiment import Experiment, Result, fixed, steps_of, style, tidy

EPSILON, START = 1e-4, 2.0


def predicted(p: float) -> int:
    """Sharp steps multiply w by (p - 2)/(p - 1), whatever w is."""
    ratio = math.log(START / EPSILON ** (1 / p)) / math.log((p - 1) / (p - 2))
    return math.ceil(ratio - 1e-9)


def draw(figure: Figure, powers: np.ndarray, rows: list[dict]) -> None:
    """Steps against the power."""
    axes = figure.subplots()
    names = ("sharp, 1/(Kρ Δ^ρ)", "paper B's", "fixed, 1/(Kρ Δ₀^ρ)")
    for index, name in enumerate(names):
        axes.semilogy(powers, [row[name] for row in rows], label=name, **style(index))
    closed = [row["closed form"] for row in rows]
    axes.semilogy(powers, closed, "k+", ms=10, label="sharp, closed form")
    tidy(axes, f"From w = {START:g} to $|w|^p$ ≤ {EPSILON:g}", "p", "steps")
    axes.legend(fontsize=8, frameon=False)


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Counts the steps of three rules for each power."""
    powers = np.array([2.5, 3, 4, 5, 6]) if quick else np.array([2.25, 2.5, 3, 3.5, 4, 5, 6, 7, 8])
    rows = []
    for p in powers:
        problem = problems.NormPower(float(p))
        start = np.array([START])
        size = float(1 / problem.smoothness.bound(problem.value(start)))
        count = {
            name: int(steps_of(problem, step, start, EPSILON).steps)
            for name, step in (
                ("sharp", rule(problem.smoothness, "sharp")),
                ("power", rule(problem.smoothness, "power")),
                ("fixed", fixed(size)),
            )
        }
        rows.append(
            {
                "p": float(p),
                "ρ = (p − 2)/p": problem.rho,
                "sharp, 1/(Kρ Δ^ρ)": count["sharp"],
                "closed form": predicted(float(p)),
                "paper B's": count["power"],
                "fixed, 1/(Kρ Δ₀^ρ)": count["fixed"],
            }
        )
        tick()
    agree = sum(row["sharp, 1/(Kρ Δ^ρ)"] == row["closed form"] for row in rows)
    last = rows[-1]
    findings = [
        f"Sharp steps agree with the closed form for {agree} of {len(rows)} powers",
        f"At p = {last['p']:g} the fixed step takes "
        f"{last['fixed, 1/(Kρ Δ₀^ρ)'] / last['sharp, 1/(Kρ Δ^ρ)']:.0f} times the steps of sharp",
    ]

    return Result(rows, findings, lambda figure: draw(figure, powers, rows))


EXPERIMENT = Experiment("powers", "General ρ: steps on |w|^p", run, (5, 9))
