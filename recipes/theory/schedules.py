"""The adaptive step against the best of each family of non-increasing schedules.

The families are c s(k) with s = 1, 1/(1 + k/τ), 1/√(1 + k/τ), ½^⌊k/τ⌋ and the cosine over τ steps.
Both c and τ are searched on a wide grid and then three times more, each time on a finer grid around
the best so far; τ goes up to where a schedule is all but constant. What is found is the best of the
grid, measured on this instance, not a bound over all schedules.
"""

from collections.abc import Callable

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.theory import bounds, problems
from keras_h0h1.theory.descent import rule
from recipes.theory.experiment import Experiment, Result, fixed, power_of, steps_of, style, tidy

EPSILON = 1e-6
SHAPES = {
    "constant": lambda xp, t: 1.0 + 0.0 * t,
    "1/t": lambda xp, t: 1.0 / (1.0 + t),
    "1/√t": lambda xp, t: 1.0 / xp.sqrt(1.0 + t),
    "step decay": lambda xp, t: 0.5 ** xp.floor(t),
    "cosine": lambda xp, t: 0.5 * (1.0 + xp.cos(np.pi * xp.minimum(t, 1.0 + 0.0 * t))),
}


def _best(problem, starts, shape, sizes, horizons, limit):
    """The fewest steps of each start over its members, with the size and horizon that gave them.

    Args:
        problem: What is minimised.
        starts: Array `(g, n)`.
        shape: One of `SHAPES`.
        sizes: Array `(g, m)` of c.
        horizons: Array `(g, m)` of τ.
        limit: Steps after which a member is of no interest.
    """
    members = np.repeat(starts[:, None], sizes.shape[1], axis=1)

    def schedule(loss, norm, step):
        if not keras.ops.is_tensor(loss):
            return sizes * shape(np, step / horizons)
        size, horizon = (keras.ops.convert_to_tensor(a, loss.dtype) for a in (sizes, horizons))
        return size * shape(keras.ops, step / horizon)

    steps = steps_of(problem, schedule, members, EPSILON, limit).steps
    steps = np.where(steps < 0, np.iinfo("int32").max, steps)
    chosen = np.argmin(steps, axis=1)[:, None]
    return tuple(np.take_along_axis(a, chosen, axis=1)[:, 0] for a in (steps, sizes, horizons))


def _search(problem, starts, stable, name, limit, fine, tick):
    """`_best`, on a wide grid and on three finer ones around what was found."""
    # In units of the largest stable constant; those just below it are what a constant is best at.
    near = 1 - 10.0 ** np.linspace(-4, -1, fine)
    sizes = np.concatenate([np.geomspace(0.2, 10, fine), near])
    horizons = np.ones(1) if name == "constant" else np.geomspace(3, 1e3 * limit, fine)
    pairs = np.stack(np.meshgrid(sizes, horizons), axis=-1).reshape(-1, 2)
    grid = np.broadcast_to(pairs, (len(starts), *pairs.shape))
    found = None
    for width in (0.1, 0.01, 0.001, None):
        sizes = stable[:, None] * grid[..., 0]
        trial = _best(problem, starts, SHAPES[name], sizes, grid[..., 1], limit)
        if found is None:
            found = trial
        else:
            better = trial[0] < found[0]
            found = tuple(np.where(better, new, old) for new, old in zip(trial, found, strict=True))
        tick()
        if width is not None:
            around = 1 + width * np.linspace(-1, 1, fine + 1)
            spread = np.ones(1) if name == "constant" else (30 * width) ** np.linspace(-1, 1, 7)
            pairs = np.stack(np.meshgrid(around, spread), axis=-1).reshape(-1, 2)
            centre = np.stack([found[1] / stable, found[2]], axis=-1)
            grid = centre[:, None] * pairs
    return found


def draw(
    figure: Figure,
    gaps: np.ndarray,
    steps: dict[str, np.ndarray],
    best: np.ndarray,
    gain: np.ndarray,
) -> None:
    """Steps of each family, and the gain over the best of them against its length."""
    left, right = figure.subplots(1, 2)
    for index, (name, count) in enumerate(steps.items()):
        left.loglog(gaps, count, label=name, **style(index))
    tidy(left, "Best constants of each family", "gap at the start, Δ₀", "steps to Δ ≤ 1e-6")
    left.legend(fontsize=8, frameon=False)
    left.annotate(
        "the families coincide:\nat its best each is\nall but constant",
        (gaps[-2], best[-2]),
        xytext=(0.95, 0.3),
        textcoords="axes fraction",
        ha="right",
        fontsize=8,
        arrowprops={"arrowstyle": "-", "color": "0.5", "lw": 0.8},
    )
    right.loglog(best, gain, label="measured", **style(0))
    right.loglog(best, gain[0] * best / best[0], color="0.5", lw=1, ls=":", label="slope 1")
    tidy(
        right,
        "The gain grows with the length",
        "steps of the best non-increasing schedule, T",
        "T / steps of the adaptive rule",
    )
    right.legend(fontsize=8, frameon=False)


def run(quick: bool, tick: Callable[[], None]) -> Result:
    """Searches the best constants of each family for each gap at the start."""
    problem = problems.Separation(0.1)
    gaps = np.geomspace(10, 1e3 if quick else 1e4, 3 if quick else 7)
    fine = 10 if quick else 20
    starts = np.stack([problem.start(gap) for gap in gaps])
    stable = np.array([bounds.largest_stable_step(problem.smoothness, gap) for gap in gaps])
    adaptive = steps_of(problem, rule(problem.smoothness), starts, EPSILON).steps
    steps, chosen = {"sharp, adaptive": adaptive}, []
    # Every family comes as near to a constant as one likes, so nothing slower than a constant at
    # 0.99 of the largest stable one can be its best.
    limit = int(steps_of(problem, fixed(0.99 * stable), starts, EPSILON).steps.max())
    for name in SHAPES:
        count, size, horizon = _search(problem, starts, stable, name, limit, fine, tick)
        steps[name] = count
        for i, gap in enumerate(gaps):
            row = {"gap": float(gap), "schedule": name, "c / stable": float(size[i] / stable[i])}
            chosen.append(row | {"horizon": float(horizon[i]), "steps": int(count[i])})
    rows = []
    for i, gap in enumerate(gaps):
        row = {"Δ₀": float(gap)} | {name: int(count[i]) for name, count in steps.items()}
        row["gain over the best"] = min(row[name] for name in SHAPES) / row["sharp, adaptive"]
        rows.append(row)
    best = np.min([steps[name] for name in SHAPES], axis=0)
    gain = np.array([row["gain over the best"] for row in rows])
    findings = [
        "Best non-increasing schedule of the families: steps grow like "
        f"Δ₀^{power_of(gaps, best):.2f}; the adaptive step: like Δ₀^{power_of(gaps, adaptive):.2f}",
        f"Gain of the adaptive step: {gain[0]:.1f} to {gain[-1]:.0f} times, "
        f"growing like T^{power_of(best, gain):.2f} in the best schedule's number of steps T "
        "(paper B: at most Θ(T); measured on this instance and these families alone)",
    ]

    return Result(
        rows,
        findings,
        lambda figure: draw(figure, gaps, steps, best, gain),
        {"best constants": chosen},
    )


EXPERIMENT = Experiment(
    "schedules", "Adaptive against the best non-increasing schedules", run, (20, 20)
)
