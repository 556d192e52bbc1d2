"""The networks with their proved constants: adaptive steps against the best fixed step."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from keras_h0h1.theory import Smoothness, problems
from recipes.theory.experiment import Experiment, Result, like, power_of, steps_of, style, tidy

LIMIT = 20_000
# Gaps at the start in units of that of zero weights.
FACTORS = {True: np.geomspace(3, 100, 3), False: np.geomspace(3, 1000, 6)}
NAMES = ("adaptive, 1/ℓ(Δ)", "fixed, 1/ℓ(Δ₀)", "best fixed step")


def instances() -> dict[str, tuple]:
    """Label -> problem, a direction to start along, and the loss to reach."""
    random = np.random.default_rng(1)
    X, Y = random.normal(size=(2, 4)) * 0.5, random.normal(size=(1, 4))
    linear = problems.DeepLinearNet(X, Y, [2])
    leaky = problems.LeakyReLUNet(X, Y, [3], slope=0.3)
    attention = problems.InContextAttention(np.diag([1.0, 0.5]), 8, 0.2, 0.2)
    softmax = problems.InContextSoftmaxAttention.sample(2, 4, 3, 0, 0.2, 0.2)
    x, signs = random.normal(size=(6, 2)) * 0.5, np.where(np.arange(6) % 2, 1.0, -1.0)
    layers = problems.TwoLayerNet(x, signs, 2, 0.3, 0.3)
    chosen = {
        "DeepLinearNet": (linear, linear.balance(random.normal(size=linear.dimension))),
        "LeakyReLUNet": (leaky, leaky.balance(random.normal(size=leaky.dimension))),
        "InContextAttention": (attention, random.normal(size=attention.dimension)),
        "InContextSoftmaxAttention": (softmax, random.normal(size=softmax.dimension)),
        "TwoLayerNet": (layers, random.normal(size=layers.dimension)),
    }
    return chosen


def start_at(problem, direction: np.ndarray, loss: float) -> np.ndarray:
    """The point along the direction, far enough out, with this loss."""
    low, high = 0.0, 1.0
    while problem.value(high * direction) < loss:
        low, high = high, 2 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if problem.value(middle * direction) > loss else (middle, high)
    return high * direction


def goal(problem, direction: np.ndarray, floor: float, rest: float) -> float:
    """A gap near the minimum: a tenth of the way back to the loss `rest` of zero weights."""
    w = start_at(problem, direction, floor + 3 * rest)
    for _ in range(400):
        w = w - problem.gradient(w) / problem.curvature(w)
    reached = float(problem.value(w)) - floor
    return reached + 0.1 * (rest - reached)


def constants(problem, start: np.ndarray) -> Smoothness:
    """Those that are proved along the descent from this start.

    For `LeakyReLUNet` they are proved where the alignment stays above half of the start's.
    """
    if isinstance(problem, problems.DeepLinearNet):
        return problem.trajectory_certificate(start)
    if isinstance(problem, problems.LeakyReLUNet):
        return problem.certificate(*leaky_set(problem, start))
    return problem.smoothness


def leaky_set(problem, start: np.ndarray) -> tuple[float, float]:
    """The alignment and imbalance that are assumed along a descent from a balanced start."""
    return 0.5 * float(problem.alignment(start)), 0.05 * float(np.sum(start**2))


def count_steps(problem, starts, made: list[Smoothness], sizes, epsilon: float) -> np.ndarray:
    """Steps of each rule from each start, `(starts, 2 + sizes)`, in a single loop; -1 if never.

    A fixed step of size c is the sharp one with H0 = 1/c and H1 = 0.
    """
    H0 = np.array([[s.H0, 0.0, *(0.0 * sizes[0])] for s in made])
    H1 = np.zeros_like(H0)
    H1[:, 0] = [s.H1 for s in made]
    first = [float(s.bound(problem.value(start))) for s, start in zip(made, starts, strict=True)]
    H0[:, 1], H0[:, 2:] = first, 1.0 / sizes
    level = made[0].f_star

    def rule(loss, norm, step):
        return 1.0 / (like(H0, loss) + like(H1, loss) * (loss - level))

    batch = np.repeat(np.asarray(starts)[:, None], H0.shape[1], axis=1)
    return steps_of(problem, rule, batch, epsilon, LIMIT).steps


def draw(figure: Figure, rows: list[dict]) -> None:
    """Steps against the gap at the start, a panel for each network."""
    labels = list(dict.fromkeys(row["network"] for row in rows))
    axes = figure.subplots(1, len(labels))
    for axis, label in zip(axes, labels, strict=True):
        chosen = [row for row in rows if row["network"] == label]
        for index, name in enumerate(NAMES):
            points = [(row["Δ₀"], row[name]) for row in chosen if row[name] is not None]
            if points:
                axis.loglog(*zip(*points, strict=True), label=name, **style(index))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_minor_formatter(NullFormatter())
        tidy(axis, label, "Δ₀", "steps" if axis is axes[0] else "")
        axis.title.set_fontsize(8.5)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Counts steps for growing gaps at the start; the loss to reach stays the same."""
    rows, findings = [], []
    for label, (problem, direction) in instances().items():
        floor = problem.f_star if problem.minimum is None else problem.minimum
        rest = float(problem.value(0.0 * direction)) - floor
        gaps, epsilon = rest * FACTORS[quick], goal(problem, direction, floor, rest)
        starts = [start_at(problem, direction, floor + gap) for gap in gaps]
        made = [constants(problem, start) for start in starts]
        # Sizes around what the curvature at the start allows.
        grid = np.geomspace(0.1, 50.0, 24 if quick else 64)
        sizes = grid / problem.curvature(np.stack(starts))[:, None]
        steps = count_steps(problem, starts, made, sizes, epsilon)
        arrived = np.where(steps < 0, LIMIT + 1, steps)
        best = np.argmin(arrived[:, 2:], axis=1)
        for i, gap in enumerate(gaps):
            found = [*arrived[i, :2], arrived[i, 2 + best[i]]]
            row = {"network": label, "Δ₀": float(gap), "Δ to reach": epsilon}
            row |= {n: int(k) if k <= LIMIT else None for n, k in zip(NAMES, found, strict=True)}
            rows.append(row | {"best size": float(sizes[i, best[i]])})
        for name in NAMES:
            count = np.array([row[name] or np.nan for row in rows[-len(gaps) :]], dtype=float)
            if np.all(np.isfinite(count)):
                findings.append(
                    f"{label}, {name}: {count[0]:.0f} to {count[-1]:.0f} steps, like "
                    f"Δ₀^{power_of(gaps, count):.2f}"
                )
            else:
                reached = int(np.sum(np.isfinite(count)))
                findings.append(f"{label}, {name}: {reached} of {len(gaps)} in {LIMIT} steps")
        tick()
    return Result(rows, findings, lambda figure: draw(figure, rows))


EXPERIMENT = Experiment(
    "networks", "The networks: adaptive steps against fixed ones, to the same loss", run, (5, 5)
)
