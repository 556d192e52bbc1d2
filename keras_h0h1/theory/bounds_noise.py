r"""Stochastic gradients whose noise does not vanish at the minimum.

ABC noise: $\|g\|^2 \le A \Delta + B \|\nabla f\|^2 + C$ for the stochastic gradient $g$ with
$E[g] = \nabla f(w)$. Here the inequality has to hold *for every draw*, as it does for the batches
of a finite data set with constants of the worst batch. For the expectation alone the results fail:
$f = \cosh w - 1$ with the noise $\pm M$, each with the probability $1/(2 M^2)$, and else 0, has
$E\|g\|^2 = \|\nabla f\|^2 + 1$ for every M, but after one step
$E f(w_1) \ge (\cosh(\eta M) - 1) / (2 M^2)$, which has no bound as M grows.

The step is $\eta = \min(\bar\eta, c / (H_0 + H_1 \Delta))$, with the gap of the full loss.
Proofs are in docs/theory.md; everything here is derived.
"""

import math

import numpy as np

from keras_h0h1._types import Numeric
from keras_h0h1.theory._guards import require, require_affine, require_pl, require_positive
from keras_h0h1.theory.smoothness import Smoothness


def _growth(kappa):
    r"""$q(\kappa) = 2 (e^\kappa - 1 - \kappa) / \kappa^2$, 1 at 0."""
    kappa = np.asarray(kappa, dtype="float64")
    safe = np.maximum(kappa, 1e-4)  # the series is exact to 1e-13 below
    series = 1 + kappa / 3 + kappa**2 / 12
    return np.where(kappa < 1e-4, series, 2 * (np.expm1(safe) - safe) / safe**2)


def noisy_step(
    smoothness: Smoothness,
    gap: Numeric,
    step_size: Numeric,
    inner_product: Numeric,
    noisy_norm: Numeric,
) -> Numeric:
    r"""The gap after a step along any vector $g$: $\Delta^+ \le \Delta - \eta \langle \nabla f, g
    \rangle + \frac{q(\kappa)}{2} \ell(\Delta) \eta^2 \|g\|^2$, $\kappa = \sqrt{H_1} \eta \|g\|$.

    $q(\kappa) = 2 (e^\kappa - 1 - \kappa) / \kappa^2$, which is 1 at 0 and grows like
    $e^\kappa$.

    Args:
        smoothness: The constants, with $\rho = 1$.
        gap: $\Delta \ge 0$, a number or an array.
        step_size: $\eta \ge 0$.
        inner_product: $\langle \nabla f, g \rangle$.
        noisy_norm: $\|g\|$.

    Raises:
        GuardError: `rho_is_1`, `H0_positive`, `gap_nonnegative`, `step_nonnegative`.

    Source: derived. The gap grows at most so fast along a path that the bound on the curvature
    grows by at most $e^{\sqrt{H_1} t}$ over a distance t.

    Example: a step against the gradient is allowed to raise the loss.

    >>> round(float(noisy_step(Smoothness(1.0, 1.0), 1.0, 0.1, -0.5, 1.0)), 4)
    1.0603
    """
    require_affine(smoothness)
    require_positive(H0=smoothness.H0)
    require("gap_nonnegative", np.greater_equal(gap, 0), "gap >= 0", gap=gap)
    require("step_nonnegative", np.greater_equal(step_size, 0), "step_size >= 0", step=step_size)
    length = step_size * np.asarray(noisy_norm, dtype="float64")
    curvature = smoothness.H0 + smoothness.H1 * np.asarray(gap, dtype="float64")
    factor = _growth(math.sqrt(smoothness.H1) * length)
    return gap - step_size * inner_product + 0.5 * factor * curvature * length**2


def abc_growth(
    smoothness: Smoothness, A: float, B: float, C: float, scale: float, base: float
) -> float:
    r"""$q(\kappa)$ for the longest step, $\kappa^2 = c^2 (B + \frac{A}{4 H_0}) + C H_1
    \min(\bar\eta, c/H_0)^2$.

    Arguments as `abc_hitting_time`.

    >>> round(abc_growth(Smoothness(1.0, 1.0), A=0.0, B=1.0, C=0.0, scale=0.5, base=0.5), 4)
    1.1898
    """
    H0, H1 = smoothness.H0, smoothness.H1
    square = scale**2 * (B + A / (4 * H0)) + C * H1 * min(base, scale / H0) ** 2
    return float(_growth(math.sqrt(square)))


def abc_scale(
    smoothness: Smoothness, mu: float, A: float, B: float, C: float, base: float
) -> float:
    r"""The largest $c \le 1$ that `abc_hitting_time` accepts: $q c \max(B, A/\mu) \le 1$.

    Arguments as `abc_hitting_time`.

    >>> round(abc_scale(Smoothness(1.0, 1.0), mu=0.1, A=0.0, B=1.0, C=0.0, base=1.0), 3)
    0.763
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        growth = abc_growth(smoothness, A, B, C, middle, base)
        fits = growth * middle * max(B, A / mu) <= 1
        low, high = (middle, high) if fits else (low, middle)
    return low


def abc_hitting_time(
    smoothness: Smoothness,
    mu: float,
    gap: float,
    epsilon: float,
    *,
    A: float,
    B: float,
    C: float,
    scale: float,
    base: float,
) -> float:
    r"""PL and ABC noise, step $\min(\bar\eta, c / (H_0 + H_1 \Delta))$: the *expected* number of
    steps until the gap is first at most $\varepsilon$ is at most

    $$\frac{\varepsilon}{g(\varepsilon)} + \int_\varepsilon^{\Delta_0} \frac{d\Delta}{g(\Delta)},
    \qquad g(\Delta) = \frac\mu4 \min\left(\bar\eta, \frac{c}{H_0 + H_1 \Delta}\right) \Delta.$$

    If the cap never acts, $\bar\eta \ge c / H_0$, that is $\frac{4}{c \mu} (H_0 (1 +
    \ln\frac{\Delta_0}{\varepsilon}) + H_1 \Delta_0)$: as without noise, down to a level that is
    proportional to C and to the cap.

    Args:
        smoothness: The constants, with $\rho = 1$ and `f_star` the infimum.
        mu: The PL constant.
        gap: $\Delta_0$, the gap at the start.
        epsilon: The gap to reach.
        A: Of the noise, at least 0.
        B: Of the noise, more than 0.
        C: Of the noise, at least 0.
        scale: $c$; `abc_scale` gives the largest.
        base: $\bar\eta$, the cap.

    Raises:
        GuardError: `scale_small` unless $q c B \le 1$ and $q c A \le \mu$, with q of
            `abc_growth`; `epsilon_above_noise` unless $\mu \varepsilon \ge 2 q C \min(c, \bar\eta
            (H_0 + H_1 \varepsilon))$; `rho_is_1`, `A_nonnegative`, `B_positive`,
            `C_nonnegative`, `scale_positive`, `base_positive`, `mu_positive`, `mu_at_most_H0`,
            `gap_positive`, `epsilon_positive`, `epsilon_at_most_gap`.

    Source: derived.

    Example:

    >>> given = dict(A=0.0, B=2.0, C=0.01, scale=0.3, base=0.05)
    >>> round(abc_hitting_time(Smoothness(1.0, 1.0), 0.5, 10.0, 0.01, **given), 1)
    1306.2
    """
    require_affine(smoothness)
    require_pl(smoothness, mu, gap, epsilon)
    require_positive(B=B, scale=scale, base=base)
    for name, value in (("A", A), ("C", C)):
        require(f"{name}_nonnegative", value >= 0, f"{name} >= 0", **{name: value})
    H0, H1 = smoothness.H0, smoothness.H1
    growth = abc_growth(smoothness, A, B, C, scale, base)
    fits = growth * scale * max(B, A / mu) <= 1 + 1e-9
    require("scale_small", fits, "q c B <= 1 and q c A <= mu", scale=scale, q=growth, A=A, B=B)
    floor = 2 * growth * C * min(scale, base * (H0 + H1 * epsilon)) / mu
    require("epsilon_above_noise", epsilon >= floor, "epsilon above the noise", epsilon=epsilon)

    def integral(low, high):  # of dx / (x min(base, scale / (H0 + H1 x)))
        # Below the crossing the cap acts, above it the loss.
        room = scale / base - H0
        crossing = room / H1 if H1 > 0 else math.copysign(math.inf, room)
        middle = min(max(crossing, low), high)
        capped = math.log(middle / low) / base
        return capped + (H0 * math.log(high / middle) + H1 * (high - middle)) / scale

    last = 1 / min(base, scale / (H0 + H1 * epsilon))
    return 4 / mu * (last + integral(epsilon, gap))
