r"""Upper bounds that are proved, each with the guards under which its proof holds.

Every function checks its guards and raises `GuardError`, which carries the guard's name, outside
them. A bound on a number of steps is a real number $N$: the gap is at most $\varepsilon$ after at
most $N$ steps of the rule named.

| class | step rule | function | source |
|---|---|---|---|
| any | $\eta \le 2/\ell(\Delta)$ | `descent` | derived |
| any | | `gradient_norm_squared` | derived |
| any | $\eta_k \le 1/\ell(\Delta_k)$ | `stationarity` | derived |
| PL | paper | `pl_paper_printed` | A |
| PL | paper | `pl_paper` | derived |
| PL | sharp | `pl_sharp` | derived |
| Aiming | paper | `aiming_paper` | A |
| Aiming | $\theta / (2 H_0 + H_1 \Delta)$ | `aiming` | derived |
| interpolated, mini-batch | $1 / (2 H_0 + H_1 \Delta_i)$ | `interpolated_distance` | derived |
| the worst case | fixed | `largest_stable_step` | derived |

A: Alimisis, Islamov, Lucchi, *Why Do We Need Warm-up? A Theoretical Perspective*, arXiv 2510.03164.
"""

import math

import numpy as np

from keras_h0h1._types import ArrayLike, Numeric

# Its public place is here.
from keras_h0h1.theory._guards import GuardError as GuardError
from keras_h0h1.theory._guards import (
    require,
    require_affine,
    require_pl,
    require_positive,
)
from keras_h0h1.theory.smoothness import Smoothness


def descent(
    smoothness: Smoothness, gap: Numeric, gradient_norm: Numeric, step_size: Numeric
) -> Numeric:
    r"""The gap after one step: $\Delta^+ \le \Delta - \eta (1 - \eta \ell(\Delta)/2) G^2$.

    Args:
        smoothness: The constants.
        gap: $\Delta \ge 0$, a number or an array.
        gradient_norm: $G$.
        step_size: $\eta$.

    Raises:
        GuardError: `step_in_range` unless $0 < \eta \le 2 / \ell(\Delta)$.

    Source: derived. Follow the segment to the first point where $f$ would exceed $f(w)$; up to
    there the curvature is at most $\ell(\Delta)$.

    Example: a parabola of curvature 1 and the step 1.

    >>> float(descent(Smoothness(1.0, 0.0), gap=0.5, gradient_norm=1.0, step_size=1.0))
    0.0
    """
    curvature = smoothness.bound(smoothness.f_star + np.asarray(gap, dtype="float64"))
    product = step_size * curvature
    require(
        "step_in_range",
        np.greater(product, 0) & np.less_equal(product, 2 * (1 + 1e-12)),
        "0 < step_size * (H0 + H1 gap^rho) <= 2",
        step_size=step_size,
        gap=gap,
    )
    return gap - step_size * (1 - 0.5 * product) * np.square(gradient_norm)


def gradient_norm_squared(smoothness: Smoothness, gap: Numeric) -> Numeric:
    r"""$G^2 \le 2 \int_0^\Delta \ell = 2 H_0 \Delta + 2 H_1 \Delta^{\rho+1} / (\rho + 1)$.

    Equality for `problems.Cosh` in one dimension and for `problems.NormPower`.

    Raises:
        GuardError: `gap_nonnegative`.

    Source: derived.

    Example: for $\cosh w - 1 = 1$ the slope is $\sinh w$ with $\cosh w = 2$.

    >>> float(gradient_norm_squared(Smoothness(1.0, 1.0), 1.0))
    3.0
    """
    gap = np.asarray(gap, dtype="float64")
    require("gap_nonnegative", gap >= 0, "gap >= 0", gap=gap)
    power = smoothness.rho + 1
    return 2 * smoothness.H0 * gap + 2 * smoothness.H1 * gap**power / power


def stationarity(smoothness: Smoothness, gaps: ArrayLike, step_sizes: ArrayLike) -> float:
    r"""$\min_k G_k^2 \le 2 \Delta_0 / \sum_k \eta_k$, without convexity or PL.

    Args:
        smoothness: The constants.
        gaps: $\Delta_0, \Delta_1, \dots$, the gap before each step.
        step_sizes: $\eta_0, \eta_1, \dots$, as many.

    Raises:
        GuardError: `step_at_most_sharp` unless $0 < \eta_k \le 1/\ell(\Delta_k)$ for all k.

    Source: derived.

    Example:

    >>> stationarity(Smoothness(1.0, 0.0), gaps=[2.0, 1.0], step_sizes=[1.0, 1.0])
    2.0
    """
    gaps, steps = np.asarray(gaps, dtype="float64"), np.asarray(step_sizes, dtype="float64")
    product = steps * smoothness.bound(smoothness.f_star + gaps)
    require(
        "step_at_most_sharp",
        (steps > 0) & (product <= 1 + 1e-12),
        "0 < step_size <= 1 / (H0 + H1 gap^rho) at every step",
        largest_product=float(np.max(product)),
    )
    return float(2 * gaps[0] / np.sum(steps))


def pl_paper_printed(smoothness: Smoothness, mu: float, gap: float, epsilon: float) -> float:
    r"""PL, rule paper, as printed.

    $$40 \frac{H_1 \Delta_0}{\mu} + 20 \frac{H_0}{\mu} \ln\frac{H_0}{2 H_1 \varepsilon}$$

    Args:
        smoothness: The constants, with $\rho = 1$.
        mu: The PL constant.
        gap: $\Delta_0$, the gap at the start.
        epsilon: The gap to reach.

    Raises:
        GuardError: `H1_positive`; `epsilon_small` unless $\varepsilon \le H_0 / (2 H_1)$, above
            which the logarithm is negative; `mu_positive`, `mu_at_most_H0`, `rho_is_1`,
            `gap_positive`, `epsilon_positive`, `epsilon_at_most_gap`.

    Source: A. Use `pl_paper`, which needs neither guard.

    Example:

    >>> round(pl_paper_printed(Smoothness(1.0, 1.0), mu=0.1, gap=10.0, epsilon=1e-6), 1)
    6624.5
    """
    require_affine(smoothness)
    require_pl(smoothness, mu, gap, epsilon)
    H0, H1 = smoothness.H0, smoothness.H1
    require_positive(H1=H1)
    require(
        "epsilon_small", epsilon <= H0 / (2 * H1), "epsilon <= H0 / (2 H1)", epsilon=epsilon, H0=H0
    )
    return 40 * H1 * gap / mu + 20 * H0 / mu * math.log(H0 / (2 * H1 * epsilon))


def pl_paper(smoothness: Smoothness, mu: float, gap: float, epsilon: float) -> float:
    r"""PL, rule paper: $1 + \frac{10 H_0}{1.9 \mu} \ln\frac{\Delta_0}{\varepsilon} +
    \frac{20 H_1}{1.9 \mu} (\Delta_0 - \varepsilon)$.

    Arguments as `pl_paper_printed`.

    Raises:
        GuardError: `rho_is_1`, `mu_positive`, `mu_at_most_H0`, `gap_positive`,
            `epsilon_positive`, `epsilon_at_most_gap`.

    Source: derived. A step takes at least $g(\Delta) = 1.9 \mu \Delta / (10 H_0 + 20 H_1 \Delta)$
    off the gap, which grows with $\Delta$, so all steps but the last cost at most
    $\int d\Delta / g$.

    Example:

    >>> round(pl_paper(Smoothness(1.0, 1.0), mu=0.1, gap=10.0, epsilon=1e-6), 1)
    1902.0
    """
    require_affine(smoothness)
    require_pl(smoothness, mu, gap, epsilon)
    logarithm = 10 * smoothness.H0 * math.log(gap / epsilon)
    return 1 + (logarithm + 20 * smoothness.H1 * (gap - epsilon)) / (1.9 * mu)


def pl_sharp(smoothness: Smoothness, mu: float, gap: float, epsilon: float) -> float:
    r"""PL, rule sharp: $1 + \frac{H_0}{\mu} \ln\frac{\Delta_0}{\varepsilon} +
    \frac{H_1}{\rho \mu} (\Delta_0^\rho - \varepsilon^\rho)$, for $\rho \le 1$.

    Arguments as `pl_paper_printed`.

    Raises:
        GuardError: `rho_at_most_1`, because $\Delta / \ell(\Delta)$ has to grow with $\Delta$;
            `mu_positive`, `mu_at_most_H0`, `gap_positive`, `epsilon_positive`,
            `epsilon_at_most_gap`.

    Source: derived, as `pl_paper` with $g(\Delta) = \mu \Delta / \ell(\Delta)$.

    Example: the separation instance takes 54 steps here.

    >>> round(pl_sharp(Smoothness(1.0, 1.0), mu=0.1, gap=10.05, epsilon=1e-6), 1)
    262.7
    """
    rho = smoothness.rho
    require("rho_at_most_1", rho <= 1, "rho <= 1", rho=rho)
    require_pl(smoothness, mu, gap, epsilon)
    growth = smoothness.H1 * (gap**rho - epsilon**rho) / rho
    return 1 + (smoothness.H0 * math.log(gap / epsilon) + growth) / mu


def aiming_paper(
    smoothness: Smoothness, distance: float, epsilon: float, theta: float = 1.0
) -> float:
    r"""Aiming, rule paper: $40 H_0 d^2 / (\theta^2 \varepsilon) + 40 H_1 d^2 / \theta^2$.

    Args:
        smoothness: The constants, with $\rho = 1$.
        distance: $d$, from the start to the nearest minimiser.
        epsilon: The gap to reach.
        theta: The Aiming constant; only 1 (convex functions) is accepted, because the step
            contains no $\theta$ and only that case has been checked here.

    Raises:
        GuardError: `theta_is_1`, `rho_is_1`, `distance_positive`, `epsilon_positive`.

    Source: A.

    Example:

    >>> aiming_paper(Smoothness(1.0, 1.0), distance=2.0, epsilon=0.1)
    1760.0
    """
    require_affine(smoothness)
    require_positive(distance=distance, epsilon=epsilon)
    require("theta_is_1", theta == 1, "theta = 1", theta=theta)
    return 40 * distance**2 * (smoothness.H0 / epsilon + smoothness.H1)


def aiming(smoothness: Smoothness, distance: float, epsilon: float, theta: float = 1.0) -> float:
    r"""Aiming, step $\theta / (2 H_0 + H_1 \Delta)$: $(d^2/\theta^2)(2 H_0/\varepsilon + H_1)$.

    Args:
        smoothness: The constants, with $\rho = 1$.
        distance: $d$, from the start to the minimiser of the Aiming condition.
        epsilon: The gap to reach.
        theta: The Aiming constant, in (0, 1]; 1 for convex functions.

    Raises:
        GuardError: `theta_in_range`, `rho_is_1`, `distance_positive`, `epsilon_positive`.

    Source: derived. $\|w^+ - w^*\|^2 \le \|w - w^*\|^2 - \theta^2 \Delta / (2 H_0 + H_1 \Delta)$.

    Example:

    >>> aiming(Smoothness(1.0, 1.0), distance=2.0, epsilon=0.1)
    84.0
    """
    require_affine(smoothness)
    require_positive(distance=distance, epsilon=epsilon)
    require("theta_in_range", 0 < theta <= 1, "0 < theta <= 1", theta=theta)
    return (distance / theta) ** 2 * (2 * smoothness.H0 / epsilon + smoothness.H1)


def interpolated_distance(
    smoothness: Smoothness, squared_distance: Numeric, gap: Numeric
) -> Numeric:
    r"""Mini-batch step $1 / (2 H_0 + H_1 \Delta_i)$ on interpolated convex problems.

    $\|w^+ - w^*\|^2 \le \|w - w^*\|^2 - \Delta_i / (2 H_0 + H_1 \Delta_i)$ for *every* batch $i$:
    no noise term, since $w^*$ minimises every $f_i$.

    Args:
        smoothness: The constants of the batch's loss $f_i$, with $\rho = 1$.
        squared_distance: $\|w - w^*\|^2$.
        gap: $\Delta_i = f_i(w) - f_i^* \ge 0$.

    Raises:
        GuardError: `gap_nonnegative`, `rho_is_1`.

    Source: derived.

    Example:

    >>> float(interpolated_distance(Smoothness(1.0, 1.0), squared_distance=4.0, gap=2.0))
    3.5
    """
    require_affine(smoothness)
    gap = np.asarray(gap, dtype="float64")
    require("gap_nonnegative", gap >= 0, "gap >= 0", gap=gap)
    curvature = 2 * smoothness.H0 + smoothness.H1 * gap
    # Where the constants and the gap are all 0 the function is flat and the step does nothing.
    return squared_distance - gap / np.where(curvature > 0, curvature, 1.0)


def largest_stable_step(smoothness: Smoothness, gap: float) -> float:
    r"""The largest fixed step that does not diverge on `problems.Cosh` from this gap.

    $2 \operatorname{arccosh}(c) / (H_0 \sqrt{c^2 - 1})$ with $c = 1 + H_1 \Delta_0 / H_0$: there
    $w_1 = -w_0$, a cycle; longer steps grow without end, shorter ones shrink.

    Args:
        smoothness: The constants, both positive, with $\rho = 1$.
        gap: $\Delta_0$.

    Raises:
        GuardError: `H0_positive`, `H1_positive`, `gap_positive`, `rho_is_1`.

    Source: derived.

    Example: not much more than the 2 over the curvature of a parabola at a small gap, far more
    at a large one.

    >>> round(largest_stable_step(Smoothness(1.0, 1.0), 1e-6), 4)
    2.0
    >>> round(largest_stable_step(Smoothness(1.0, 1.0), 1e4) * 1e4, 2)
    19.81
    """
    require_affine(smoothness)
    require_positive(H0=smoothness.H0, H1=smoothness.H1, gap=gap)
    rise = smoothness.H1 * gap / smoothness.H0
    # c^2 - 1 = rise (rise + 2), without the cancellation at small gaps.
    return 2 * math.acosh(1 + rise) / (smoothness.H0 * math.sqrt(rise * (rise + 2)))
