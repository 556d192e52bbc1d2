"""Sharpness along the gradient flow of linear networks and of an attention layer."""

import itertools
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.theory import problems
from recipes.theory.experiment import Experiment, Result, style, tidy
from recipes.theory.sharpness import flow


def chain_turns(depth: int, target: float = 1.0) -> tuple[float, float]:
    """The products where the sharpness of scalar layers turns, from `LinearChain`."""
    return problems.LinearChain(depth, y=target).sharpness_turns()


def cases() -> dict[str, tuple]:
    """Label -> panel, problem, start, duration, and the predicted turns of the sharpness."""
    made = {}
    for depth in (2, 3, 4):
        problem = problems.DeepLinearNet([[1.0]], [[1.0]], [1] * (depth - 1))
        turns = [turn for turn in chain_turns(depth) if turn > 0]
        start = np.full(depth, 0.01 ** (1 / depth))
        made[f"scalar layers, L = {depth}"] = (0, problem, start, 10.0, turns)
    random = np.random.default_rng(0)
    for depth in (2, 3):
        X, Y = random.normal(size=(2, 4)), random.normal(size=(2, 4))
        problem = problems.DeepLinearNet(X, Y, [3] * (depth - 1))
        start = problem.balance(0.3 * random.normal(size=problem.dimension))
        made[f"matrices, L = {depth}"] = (1, problem, start, 8.0, [])
    for ridge in (0.05, 0.7):
        problem = problems.InContextAttention([[1.0]], 8, ridge, ridge)
        turns = [0.5] if problem.has_two_phases() else []
        start = np.full(2, 0.1)
        made[f"d = 1, ridge {ridge:g}"] = (2, problem, start, 12.0, turns)
    problem = problems.InContextAttention(np.diag([1.0, 0.6]), 8, 0.02, 0.02)
    start = np.array([0.1, 0.1 / np.sqrt(2), 0.0, 0.0, 0.1 / np.sqrt(2)])
    made["d = 2, ridge 0.02"] = (2, problem, start, 12.0, [])
    return made


def progress(problem, points: np.ndarray) -> np.ndarray:
    """The product of scalar layers, or v Q as a share of the target without a ridge."""
    if isinstance(problem, problems.InContextAttention):
        second = float(problem.second_moment[0, 0] / problem.covariance[0, 0])
        return points[:, 0] * points[:, 1] * second
    return np.prod(points, axis=1)


def draw(figure: Figure, runs: dict[str, tuple]) -> None:
    """Sharpness over the time of the flow, the predicted turns as crosses."""
    axes = figure.subplots(1, 3)
    titles = ("DeepLinearNet, scalar layers", "DeepLinearNet, matrices", "InContextAttention")
    for axis, title in zip(axes, titles, strict=True):
        tidy(axis, title, "time of the flow", "‖∇²f‖")
    for index, (label, (panel, times, sharpness, found)) in enumerate(runs.items()):
        line = style(index, marker=False)
        axes[panel].plot(times, sharpness, label=label, **line)
        axes[panel].plot(times[found], sharpness[found], "kx", ms=7)
    axes[0].plot([], [], "kx", label="predicted turn")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, frameon=False)


def turning(values: np.ndarray) -> list[int]:
    """Where a sequence changes from falling to rising or back."""
    signs = np.sign(np.diff(values))
    moving = np.flatnonzero(signs)
    return [int(b) for a, b in itertools.pairwise(moving) if signs[a] != signs[b]]


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Follows the flow from small balanced starts and finds where the sharpness turns."""
    runs, rows, findings = {}, [], []
    for label, (panel, problem, start, duration, turns) in cases().items():
        times, points = flow(problem, start, duration, 0.02 if quick else 0.005)
        sharpness = problem.curvature(points)
        # Near the end the sharpness moves by rounding alone.
        found = [i for i in turning(sharpness) if abs(sharpness[i] - sharpness[-1]) > 1e-6]
        at = progress(problem, points)
        marks = [int(np.argmin(np.abs(at - turn))) for turn in turns]
        runs[label] = (panel, times, sharpness, marks)
        lowest = int(np.argmin(sharpness))
        rows.append(
            {
                "flow": label,
                "turns": len(found),
                "predicted at": ", ".join(f"{turn:.4f}" for turn in turns),
                "found at": ", ".join(f"{at[i]:.4f}" for i in found) if turns else "",
                "at the start": float(sharpness[0]),
                "lowest": float(sharpness[lowest]),
                "at the end": float(sharpness[-1]),
                "loss at the end": float(problem.value(points[-1])),
            }
        )
        if turns:
            off = [abs(at[i] - turn) for i, turn in zip(found, turns, strict=False)]
            findings.append(
                f"{label}: {len(found)} turns, {len(turns)} predicted, off by at most "
                f"{max(off, default=0):.4f}"
            )
        else:
            findings.append(
                f"{label}: {len(found)} turns, from {sharpness[0]:.3f} over "
                f"{sharpness[lowest]:.3f} to {sharpness[-1]:.3f}"
            )
        tick()
    return Result(rows, findings, lambda figure: draw(figure, runs))


EXPERIMENT = Experiment("phases", "Sharpness along the gradient flow of networks", run, (8, 8))
