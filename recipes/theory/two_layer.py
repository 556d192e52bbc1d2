"""The two-layer network's certificate: curvature against loss, and what each term is needed for."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from keras_h0h1.theory import certify, problems
from recipes.theory.experiment import Experiment, Result, style, tidy


def network(scale=1.0, ridge_v=0.05, ridge_W=0.05, samples=20, hidden=4):
    """Two classes in the plane, and the network for them."""
    random = np.random.default_rng(0)
    y = np.where(np.arange(samples) % 2, 1.0, -1.0)
    x = random.normal(size=(samples, 2)) * 0.5 + y[:, None] * np.array([0.8, 0.3])
    x /= np.max(np.linalg.norm(x, axis=1))
    return problems.TwoLayerNet(scale * x, y, hidden, ridge_v, ridge_W)


def cases():
    """Claimed constants to search for a violation of: `{label: (problem, constants)}`."""
    usual = network()
    large = network(scale=8e3, ridge_v=5e3, ridge_W=8e3, samples=1, hidden=2)
    heavy = network(scale=0.01, ridge_v=9e3, ridge_W=0.1)
    full, none = large.certificate(), large.certificate(omit=("Bmix",))
    row = float(np.max(np.linalg.norm(large.x, axis=1)))
    normalised = type(full)(full.H0, none.H1 + (full.H1 - none.H1) / row)
    return {
        "all terms, usual data": (usual, usual.certificate()),
        "all terms, large data and ridge": (large, full),
        "without v·tanh″, large data": (large, none),
        "v·tanh″ as for unit rows, large data": (large, normalised),
        "without the ridge's own curvature": (heavy, heavy.certificate(omit=("ridge",))),
    }


def draw(figure: Figure, problem, clouds: list[tuple], rows: list[dict]) -> None:
    """Curvature against loss along trainings, and the worst point of each claim."""
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    for index, (loss, curvature) in enumerate(clouds):
        label = "along trainings" if index == 0 else None
        left.scatter(loss, curvature, s=9, color=style(0)["color"], alpha=0.5, label=label)
    lowest = min(float(np.min(c[0])) for c in clouds)
    highest = max(float(np.max(c[0])) for c in clouds)
    f = np.geomspace(lowest * 0.7, highest * 1.4, 50)
    left.plot(f, problem.smoothness.bound(f), color="#D55E00", label="certified bound")
    left.set(xscale="log", yscale="log")
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_xticks([t for t in (1, 3, 10, 30, 100, 300, 1000) if lowest < t < highest])
    left.xaxis.set_major_formatter("{x:g}")
    tidy(left, "Curvature against loss", "f", "‖∇²f‖")
    left.legend(fontsize=8, frameon=False)
    ratios = [row["largest curvature / bound"] for row in rows]
    colours = ["#D55E00" if row["violated"] else "#0072B2" for row in rows]
    right.barh(range(len(rows)), ratios, color=colours, height=0.6)
    right.axvline(1.0, color="0.2", lw=1)
    right.set_xscale("log")
    right.set_yticks(range(len(rows)), [row["constants"] for row in rows], fontsize=8)
    right.invert_yaxis()
    for y, ratio in enumerate(ratios):
        right.text(ratio * 1.1, y, f"{ratio:.3g}", va="center", fontsize=8)
    right.set_xlim(right.get_xlim()[0], max(ratios) * 6)
    tidy(right, "Worst point found, above 1 is a violation", "curvature / bound", "")


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Follows trainings, then searches for violations of several constants."""
    problem = network()
    random = np.random.default_rng(1)
    clouds = []
    for _ in range(4 if quick else 12):
        w = random.normal(size=problem.dimension) * 10.0 ** random.uniform(-1, 0.7)
        path = [w]
        for _ in range(60 if quick else 200):
            for _ in range(5):  # half of what the curvature at the point would allow
                w = w - 0.5 / problem.curvature(w) * problem.gradient(w)
            path.append(w)
        path = np.array(path)
        clouds.append((problem.value(path), problem.curvature(path)))
        tick()
    rows = []
    for label, (instance, claimed) in cases().items():
        found = certify.find_violation(instance, claimed, radius=1.0, samples=512)
        rows.append(
            {
                "constants": label,
                "largest curvature / bound": found.ratio,
                "violated": found.violated,
                "loss there": found.loss,
                "found by": found.search,
            }
        )
        tick()
    share = max(float(np.max(c / problem.smoothness.bound(f))) for f, c in clouds)
    findings = [
        f"Along {len(clouds)} trainings the curvature is at most {share:.4f} of its bound",
        *(
            f"{row['constants']}: {'VIOLATED' if row['violated'] else 'no violation found'}, "
            f"ratio {row['largest curvature / bound']:.3g}"
            for row in rows
        ),
    ]

    return Result(rows, findings, lambda figure: draw(figure, problem, clouds, rows))


EXPERIMENT = Experiment("two_layer", "The two-layer network's certificate", run, (9, 17))
