"""Two phases of the sharpness on the 1x1x1 linear network, along the gradient flow."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.theory import problems
from recipes.theory.experiment import Experiment, Result, style, tidy

STARTS = {
    "balanced, small: u = v = 0.1": (0.1, 0.1),
    "balanced, large: u = v = 2": (2.0, 2.0),
    "unbalanced: u = 2, v = 0.05": (2.0, 0.05),
}


def flow(problem, start, duration, step):
    """Times and points of w' = -grad f(w), by the classical Runge-Kutta method of order 4."""
    w = np.array(start, dtype="float64")
    points = [w]
    for _ in range(round(duration / step)):
        a = -problem.gradient(w)
        b = -problem.gradient(w + 0.5 * step * a)
        c = -problem.gradient(w + 0.5 * step * b)
        d = -problem.gradient(w + step * c)
        w = w + step / 6 * (a + 2 * b + 2 * c + d)
        points.append(w)
    return step * np.arange(len(points)), np.array(points)


def draw(figure: Figure, problem, runs: dict[str, tuple]) -> None:
    """Loss and sharpness over the time of the flow, and against one another."""
    left, middle, right = figure.subplots(1, 3)
    for index, (label, (times, loss, sharpness)) in enumerate(runs.items()):
        line = style(index, marker=False)
        left.semilogy(times, loss, label=label, **line)
        middle.plot(times, sharpness, label=label, **line)
        right.plot(loss, sharpness, **line)
    f = np.linspace(0, 9, 400)
    bound = problem.balanced_smoothness(0.5).bound(f)
    right.plot(f, bound, color="0.4", lw=1, ls=(0, (1, 1)), label="4|xy| + 6|x|√f, for u = v")
    left.set_ylim(1e-12, 30)
    tidy(left, "Loss", "time of the flow", "f")
    tidy(middle, "Sharpness: down, then up", "time of the flow", "‖∇²f‖")
    tidy(right, "Sharpness against loss", "f", "‖∇²f‖")
    middle.set_ylim(0, 22)
    middle.legend(fontsize=8, frameon=False)
    right.legend(fontsize=8, frameon=False)


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Follows the gradient flow from three starts."""
    problem = problems.ScalarFactorisation(1.0, 1.0)
    runs, rows = {}, []
    for label, start in STARTS.items():
        times, points = flow(problem, start, 4.0, 0.005 if quick else 0.001)
        loss, sharpness = problem.value(points), problem.curvature(points)
        runs[label] = (times, loss, sharpness)
        low = int(np.argmin(sharpness))
        kept = points[:, 0] ** 2 - points[:, 1] ** 2
        rows.append(
            {
                "start": label,
                "sharpness at the start": float(sharpness[0]),
                "lowest": float(sharpness[low]),
                "at time": float(times[low]),
                "loss there": float(loss[low]),
                "at the end": float(sharpness[-1]),
                "drift of u² − v²": float(np.max(np.abs(kept - kept[0]))),
            }
        )
        tick()
    small = rows[0]
    findings = [
        "From a small balanced start the sharpness falls from "
        f"{small['sharpness at the start']:.3f} to {small['lowest']:.3f} "
        f"(closed form {problem.flow_sharpness_minimum():.3f}, where uv x = y/2), "
        f"then rises to {small['at the end']:.3f} (closed form 4|xy| = 4)",
        f"From a large balanced start it falls with the loss, from "
        f"{rows[1]['sharpness at the start']:.3f} to {rows[1]['at the end']:.3f}",
        "The bounds hold on the balanced line alone; off it the sharpness does not follow the loss",
    ]

    return Result(rows, findings, lambda figure: draw(figure, problem, runs))


EXPERIMENT = Experiment("sharpness", "Two phases of the sharpness of (y − uvx)²", run, (3, 3))
