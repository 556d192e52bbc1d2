"""Straight lines through points: least squares, the upper envelope, the best split."""

import itertools
from typing import Any

import numpy as np


def least_squares(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None
) -> tuple[Any, Any]:
    """Minimises sum(w (y - a - b x)^2) over a, b >= 0; rows of `weights` are separate problems."""
    w = np.ones((1, len(x))) if weights is None else weights
    total = w.sum(-1)
    mx, my = (w * x).sum(-1) / total, (w * y).sum(-1) / total
    dx, dy = x - mx[:, None], y - my[:, None]
    sxx = (w * dx * dx).sum(-1)
    b = np.divide((w * dx * dy).sum(-1), sxx, out=np.zeros_like(sxx), where=sxx > 0)
    a = my - b * mx
    # With two unknowns the constrained optimum is on a face where the free one is not feasible.
    through_origin = (w * x * y).sum(-1) / np.maximum((w * x * x).sum(-1), 1e-300)
    b, a = np.where(a < 0, np.maximum(through_origin, 0), b), np.maximum(a, 0)
    a, b = np.where(b < 0, np.maximum(my, 0), a), np.maximum(b, 0)
    return (a[0], b[0]) if weights is None else (a, b)


def free_line(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, leverage_power: int
) -> tuple[tuple, list]:
    """Unconstrained weighted fits, one a row of `weights`, with sandwich standard errors.

    Residuals are corrected for leverage fully (HC3) with `leverage_power=1`, not at all with 0.
    """
    total = weights.sum(-1, keepdims=True)
    mean = (weights * x).sum(-1, keepdims=True) / total
    dx = x - mean
    sxx = np.maximum((weights * dx * dx).sum(-1, keepdims=True), 1e-300)
    my = (weights * y).sum(-1, keepdims=True) / total
    b = (weights * dx * (y - my)).sum(-1, keepdims=True) / sxx
    a = my - b * mean
    rest = y - a - b * x
    leverage = np.minimum(weights * (1.0 / total + dx * dx / sxx), 0.99)
    rest2 = weights * (rest / (1.0 - leverage) ** leverage_power) ** 2
    influence_b, influence_a = dx / sxx, 1.0 / total - mean * dx / sxx
    errors = [np.sqrt((rest2 * i**2).sum(-1)) for i in (influence_a, influence_b)]
    return (a[:, 0], b[:, 0]), errors


def upper_envelope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The line a + b x >= y with a, b >= 0 whose mean height above the points is least."""
    order = np.lexsort((-y, x))
    hull: list[tuple[float, float]] = []
    for point in zip(x[order], y[order], strict=True):
        while len(hull) > 1 and (
            (hull[-1][0] - hull[-2][0]) * (point[1] - hull[-2][1])
            >= (hull[-1][1] - hull[-2][1]) * (point[0] - hull[-2][0])
        ):
            hull.pop()
        hull.append(point)
    candidates = [(float(y.max()), 0.0)]
    if np.all((x > 0) | (y <= 0)):
        candidates.append((0.0, max(0.0, float(np.max(y[x > 0] / x[x > 0], initial=0.0)))))
    for (x0, y0), (x1, y1) in itertools.pairwise(hull):
        if x1 > x0:
            slope = (y1 - y0) / (x1 - x0)
            if slope >= 0 and y0 - slope * x0 >= 0:
                candidates.append((float(y0 - slope * x0), float(slope)))
    a, b = min(candidates, key=lambda line: line[0] + line[1] * x.mean())
    # Round-off must not leave a point above its own envelope.
    return a + max(0.0, float(np.max(y - a - b * x))), b


def turning_point(losses: np.ndarray, curvatures: np.ndarray) -> tuple[int, np.ndarray]:
    """Index into the sorted losses where the curvature stops falling with the loss, or 0.

    The best split into two straight lines, kept only where the lower one falls with the loss by
    more than its noise while the upper one rises.
    """
    order = np.argsort(losses)
    x, y = losses[order], curvatures[order]
    n, least = len(x), max(4, len(x) // 10)
    if n < 2 * least:
        return 0, order

    def line(u, v):
        du = u - u.mean()
        sxx = np.sum(du**2)
        slope = np.sum(du * v) / sxx if sxx > 0 else 0.0
        rest = v - v.mean() - slope * du
        error = np.sqrt(np.sum(rest**2) / max(len(u) - 2, 1) / sxx) if sxx > 0 else np.inf
        return slope, error, np.sum(rest**2)

    whole = line(x, y)[2]
    best, cost = 0, np.inf
    for split in range(least, n - least + 1):
        below, above = line(x[:split], y[:split]), line(x[split:], y[split:])
        falls = below[0] < -3.0 * below[1] and below[0] < 0
        if falls and above[0] > 3.0 * above[1] and below[2] + above[2] < cost:
            best, cost = split, below[2] + above[2]
    return (best, order) if cost < 0.8 * whole else (0, order)
