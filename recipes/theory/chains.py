"""Deep linear chains: on the balanced line the curvature is a power of the loss."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.theory import Smoothness, certify, problems
from recipes.theory.experiment import Experiment, Result, power_of, style, tidy


def draw(figure: Figure, lines: dict[int, tuple]) -> None:
    """Curvature against the loss, near the minimum and far out."""
    left, right = figure.subplots(1, 2)
    for index, (depth, (loss, curvature)) in enumerate(lines.items()):
        line = style(index, marker=False)
        left.plot(loss[:240], curvature[:240], label=f"L = {depth}", **line)
        right.loglog(loss[300:], curvature[300:], label=f"L = {depth}", **line)
    left.set(xlim=(0, 2), ylim=(0, 30))
    tidy(left, "Near the minimum", "f", "‖∇²f‖")
    tidy(right, "Far out: slope 1 − 1/L", "f", "‖∇²f‖")
    left.legend(fontsize=8, frameon=False)
    right.legend(fontsize=8, frameon=False)


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Follows the curvature along the balanced line of each depth."""
    lines, rows = {}, []
    random = np.random.default_rng(0)
    for depth in range(2, 7):
        problem = problems.LinearChain(depth)
        # w on the line from the saddle at 0 to a loss of about 1e12.
        w = np.concatenate([np.linspace(0, 1, 200), 10 ** np.linspace(0, 6 / depth, 400)])
        points = np.repeat(w[:, None], depth, axis=1)
        loss, curvature = problem.value(points), problem.curvature(points)
        lines[depth] = (loss, curvature)
        far = (w > 1) & (loss > 1e6)
        # The least constants that hold on the line, for H0 the largest curvature at loss <= 1.
        H0 = float(np.max(curvature[loss <= 1]))
        H1 = float(np.max((curvature - H0) / np.maximum(loss, 1e-12)))
        claimed = Smoothness(H0, max(H1, 0.0) * 1.01 + 1e-9)
        line = certify.find_violation(
            problem,
            claimed,
            center=np.ones(depth),
            restrict=lambda p, depth=depth: np.repeat(p[:, :1], depth, axis=1),
            seed=int(random.integers(100)),
        )
        plane = certify.find_violation(problem, claimed, center=np.ones(depth))
        rows.append(
            {
                "depth L": depth,
                "exponent of the loss, far out": power_of(loss[far], curvature[far]),
                "1 − 1/L": 1 - 1 / depth,
                "curvature at the minimum": float(problem.curvature(np.ones(depth))),
                "H0 on the line": H0,
                "H1 on the line": claimed.H1,
                "curvature / bound on the line": line.ratio,
                "off the line": plane.ratio,
            }
        )
        tick()
    error = max(abs(row["exponent of the loss, far out"] - row["1 − 1/L"]) for row in rows)
    findings = [
        f"Far out on the balanced line the curvature grows like f^(1 − 1/L), off by {error:.4f}",
        "The line's constants fail off it for every depth: no constants are claimed for the whole "
        f"space (ratios {min(r['off the line'] for r in rows):.3g} and more)",
    ]

    return Result(rows, findings, lambda figure: draw(figure, lines))


EXPERIMENT = Experiment("chains", "Linear chains of depth 2 to 6 on the balanced line", run, (5, 5))
