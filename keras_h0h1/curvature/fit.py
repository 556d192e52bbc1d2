r"""From measured (loss, curvature) pairs to $(H_0, H_1, \rho)$, with intervals, or a refusal."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.curvature._bootstrap import intervals_of_line, intervals_of_shape
from keras_h0h1.curvature._regression import (
    free_line,
    least_squares,
    turning_point,
    upper_envelope,
)
from keras_h0h1.curvature._shape import fit_shape
from keras_h0h1.curvature.smoothness_fit import NotIdentified as NotIdentified
from keras_h0h1.curvature.smoothness_fit import NotIdentifiedError, SmoothnessFit
from keras_h0h1.step_sizes import gap


def fit_smoothness(
    losses: ArrayLike,
    curvatures: ArrayLike,
    rho: float | str = 1.0,
    f_star: float | str = 0.0,
    *,
    confidence: float = 0.95,
    bootstrap: int = 2000,
    min_range: float = 0.1,
    restrict: bool = True,
    seed: int = 0,
) -> SmoothnessFit:
    r"""Fits $\text{curvature} = H_0 + H_1 \max(f - f^*, 0)^\rho$ to pairs measured along a run.

    Least squares with $H_0, H_1 \ge 0$, and beside it the lowest line above all points. The
    intervals come from a studentised bootstrap over the points, at `1 - (1 - confidence) / 2`
    each, so that both hold together with probability `confidence` (Bonferroni): the two estimates
    are strongly correlated. It takes points for independent. Points of one run are not quite;
    the interval tells the fit's noise, not that of another seed or another batch.

    Measured at the default of 95%, with 5% of noise on 30 points of a descent: on ten problems of
    `theory.problems` both constants lay in their intervals in 94 to 99 of 100 trials; on four, with
    `rho="fit"`, both and the exponent in 155 of 160 (the exponent in all).

    Args:
        losses: Losses, shape `(points,)`.
        curvatures: Curvature measured at the same weights on the same batch, same shape. Pairs
            with a non-finite number are left out.
        rho: The exponent, or `"fit"` (between 0.05 and 4).
        f_star: The loss's infimum, or `"fit"`. Default 0, as in both papers.
        confidence: Joint confidence of the intervals.
        bootstrap: Number of resamples.
        min_range: Refuses where the gap's range is a smaller share than this of its largest value.
        restrict: Whether to leave out the end of a run where the curvature rises as the loss falls
            (progressive sharpening); the result says which losses were used.
        seed: Seed of the resampling.

    Raises:
        NotIdentifiedError: If fewer than 8 pairs are left, the loss moved too little, or
            `f_star="fit"` with `rho=1`: then only $H_0 - H_1 f^*$ is determined.
        ValueError: If shapes differ or an argument is out of range.

    Example:

    >>> losses = np.linspace(1.0, 6.0, 30)
    >>> fit = fit_smoothness(losses, 2.0 + 0.5 * losses)
    >>> round(fit.H0, 6), round(fit.H1, 6), round(fit.C, 6)
    (2.0, 0.5, 4.0)
    """
    losses, curvatures = _pairs(losses, curvatures)
    rho, f_star = _given_or_fit("rho", rho, low=0.0), _given_or_fit("f_star", f_star)
    confidence = check_number("confidence", confidence, low=0.5, high=0.999)
    bootstrap = check_integer("bootstrap", bootstrap, low=100)
    min_range = check_number("min_range", min_range, low=0.0, high=1.0)
    if f_star == "fit" and rho == 1.0:
        raise NotIdentifiedError(
            "With rho = 1 only H0 - H1 * f_star is determined by the data. Give f_star, or fit "
            "another rho. Received: f_star='fit'"
        )
    inside = _used(losses, curvatures) if restrict else np.ones(len(losses), bool)
    used, measured = losses[inside], curvatures[inside]
    _check_range(used, 0.0 if f_star == "fit" else f_star, min_range)

    exponent, star = fit_shape(used, measured, rho, f_star)
    x = gap(used, star) ** exponent
    H0, H1 = least_squares(x, measured)
    H0_upper, H1_upper = upper_envelope(x, measured)
    share = 1.0 - (1.0 - confidence) / 2.0
    rng = np.random.default_rng(seed)
    if rho == "fit" or f_star == "fit":
        H0_interval, H1_interval, rho_interval = intervals_of_shape(
            used, measured, rho, f_star, (H0, H1, exponent), share, rng
        )
    else:
        H0_interval, H1_interval = _widened(
            intervals_of_line(x, measured, share, bootstrap, rng), (H0, H1)
        )
        rho_interval = (exponent, exponent)
    above = curvatures[~inside] > H0_upper + H1_upper * gap(losses[~inside], star) ** exponent
    return SmoothnessFit(
        H0=float(H0),
        H1=float(H1),
        rho=float(exponent),
        f_star=float(star),
        H0_interval=(float(H0_interval[0]), float(H0_interval[1])),
        H1_interval=(float(H1_interval[0]), float(H1_interval[1])),
        rho_interval=rho_interval,
        H0_upper=float(H0_upper),
        H1_upper=float(H1_upper),
        r_squared=_explained(measured, H0 + H1 * x),
        valid_range=(float(used.min()), float(used.max())),
        points=len(used),
        points_outside=int((~inside).sum()),
        violations=float(above.mean()) if len(above) else 0.0,
        confidence=confidence,
        note=_objection(x, measured),
    )


def _pairs(losses, curvatures):
    """The pairs of finite numbers, in float64."""
    losses = np.asarray(losses, "float64").ravel()
    curvatures = np.asarray(curvatures, "float64").ravel()
    if losses.shape != curvatures.shape:
        raise ValueError(
            "`losses` and `curvatures` must have equal lengths. "
            f"Received: losses.shape={losses.shape}, curvatures.shape={curvatures.shape}"
        )
    keep = np.isfinite(losses) & np.isfinite(curvatures)
    return losses[keep], curvatures[keep]


def _given_or_fit(name, value, low=None):
    if not isinstance(value, str):
        return check_number(name, value, low=low, strict=True)
    if value != "fit":
        raise ValueError(f"`{name}` must be a number or 'fit'. Received: {name}={value!r}")
    return value


def _used(losses, curvatures):
    """A mask of the points before the turning point."""
    inside = np.ones(len(losses), bool)
    split = 0
    if len(losses) >= 8:
        split, order = turning_point(losses, curvatures)
        inside[order[:split]] = False
    if split and inside.sum() < 8:
        raise NotIdentifiedError(
            f"The curvature rises as the loss falls below {losses[inside].min():.3g}, and too few "
            "points lie before. Measure more often in the beginning. "
            f"Received: {inside.sum()} points above"
        )
    return inside


def _widened(intervals, estimates):
    """Intervals that contain their estimates.

    The bootstrap is of the line without H0, H1 >= 0. Where that bites (curvature that does not
    grow with the loss) its interval need not contain the estimate.
    """
    return [
        (min(low, estimate), max(high, estimate))
        for (low, high), estimate in zip(intervals, estimates, strict=True)
    ]


def _explained(y, fitted):
    """R squared; 0 for a constant `y`."""
    variance = np.sum((y - y.mean()) ** 2)
    return float(1.0 - np.sum((y - fitted) ** 2) / variance) if variance > 0 else 0.0


def _objection(x, y):
    """What the free line says against the constrained one, by more than three standard errors."""
    (a, b), (a_error, b_error) = free_line(x, y, np.ones((1, len(x))), 1)
    if b[0] < 3 * b_error[0]:
        return "the curvature does not grow with the loss"
    if a[0] < -3 * a_error[0]:
        return f"the curvature falls faster than H1 * gap: a free line has H0 = {a[0]:.3g}"
    return ""


def _check_range(losses, f_star, min_range):
    if len(losses) < 8:
        raise NotIdentifiedError(f"At least 8 finite pairs are needed. Received: {len(losses)}")
    gaps = gap(losses, f_star)
    spread, largest = gaps.max() - gaps.min(), gaps.max()
    if not spread > min_range * largest:
        raise NotIdentifiedError(
            "The loss moved too little to tell H0 from H1: measure from the first steps on, or "
            f"longer. Received: losses from {losses.min():.6g} to {losses.max():.6g}, "
            f"min_range={min_range:g}"
        )


def fit_layers(
    losses: ArrayLike, curvatures: Mapping[str, np.ndarray], **options: Any
) -> dict[str, SmoothnessFit | NotIdentifiedError]:
    """`fit_smoothness` for every layer's curvature against the one loss.

    Args:
        losses: Losses, shape `(points,)`.
        curvatures: A mapping from a layer's name to its curvatures.
        **options: Of `fit_smoothness`.

    Returns:
        A dict from the name to the fit, or to the `NotIdentifiedError` that says why there is none.

    Example:

    >>> losses = np.linspace(1.0, 3.0, 20)
    >>> fits = fit_layers(losses, {"head": 1.0 + losses, "body": 2.0 * losses})
    >>> round(fits["body"].H1, 6)
    2.0
    """
    fits: dict[str, SmoothnessFit | NotIdentifiedError] = {}
    for name, values in curvatures.items():
        try:
            fits[name] = fit_smoothness(losses, values, **options)
        except NotIdentifiedError as refusal:
            fits[name] = refusal
    return fits
