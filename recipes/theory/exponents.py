"""Exponents above 1: the direct bounds on the number of steps beside the reduced ones."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from keras_h0h1.theory import bounds, bounds_power
from keras_h0h1.theory.descent import rule
from recipes.theory.barrier import Barrier
from recipes.theory.experiment import Experiment, Result, power_of, steps_of, style, tidy

EPSILON, MU = 1e-2, 0.5
# rho = 1 + 2/k -> the largest gap at the start, with a reduced bound below a million
LARGEST = {1.5: 200.0, 2.0: 40.0, 3.0: 15.0}


def draw(figure: Figure, rows: list[dict]) -> None:
    """Steps and both bounds against the gap at the start, a panel for each exponent."""
    axes = figure.subplots(1, len(LARGEST))
    for axis, rho in zip(axes, LARGEST, strict=True):
        chosen = [row for row in rows if row["ρ"] == rho]
        gaps = [row["Δ₀"] for row in chosen]
        for index, name in enumerate(("reduced bound", "direct bound", "steps")):
            axis.loglog(gaps, [row[name] for row in chosen], label=name, **style(index))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_minor_formatter(NullFormatter())
        tidy(axis, f"ρ = {rho:g}", "gap at the start, Δ₀", "steps to Δ ≤ 0.01")
    axes[0].legend(fontsize=8, frameon=False)


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Counts sharp steps on a barrier, started on its slow side, for growing gaps."""
    rows, findings = [], []
    for rho, largest in LARGEST.items():
        problem = Barrier(k=2 / (rho - 1), scale=1.0, mu=MU)
        gaps = np.geomspace(largest / 30, largest / (3 if quick else 1), 4 if quick else 8)
        # Along v the descent is as slow as PL with this mu allows.
        starts = np.stack([0.0 * gaps, np.sqrt(2 * gaps / MU)], axis=-1)
        steps = steps_of(problem, rule(problem.smoothness), starts, EPSILON).steps
        for gap, count in zip(gaps, steps, strict=True):
            given = float(gap), EPSILON
            direct = bounds_power.pl_power(problem.smoothness, MU, *given)
            detour = bounds_power.reduced(problem.smoothness, float(gap))
            reduced = bounds.pl_sharp(detour, MU, *given)
            rows.append(
                {
                    "ρ": rho,
                    "Δ₀": float(gap),
                    "steps": int(count),
                    "direct bound": direct,
                    "reduced bound": reduced,
                    "direct / steps": direct / int(count),
                    "reduced / steps": reduced / int(count),
                    "reduced / direct": reduced / direct,
                }
            )
        last = [row for row in rows if row["ρ"] == rho]
        grown = power_of(gaps[-2:], steps[-2:])
        findings.append(
            f"ρ = {rho:g}: the direct bound is shorter by {last[-1]['reduced / direct']:.2f} at "
            f"Δ₀ = {last[-1]['Δ₀']:.3g} (by at most ρ for large gaps); it is "
            f"{last[-1]['direct / steps']:.2f} times the steps counted, which grow like "
            f"Δ₀^{grown:.2f}"
        )
        tick()
    return Result(rows, findings, lambda figure: draw(figure, rows))


EXPERIMENT = Experiment("exponents", "Exponents above 1: direct and reduced bounds", run, (3, 3))
