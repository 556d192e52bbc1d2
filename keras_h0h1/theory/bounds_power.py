r"""Upper bounds on the number of steps for $\rho > 1$, without the detour over $\rho = 1$.

With $\ell(\Delta) = K_0 + K_\rho \Delta^\rho$ (`Smoothness` calls the constants `H0` and `H1`).
The detour: where $\Delta \le \Delta_0$, $K_\rho \Delta^\rho \le K_\rho \Delta_0^{\rho-1} \Delta$,
so the bounds of `bounds` hold with the constants of `reduced`.

| class | step rule | function | against the reduced bound, for large $\Delta_0$ |
|---|---|---|---|
| PL | $1/\ell(\Delta)$ | `pl_power` | shorter by $c \rho$, c near 1 |
| convex | $1/\ell(\Delta)$ | `convex_power` | longer by $2/(\rho-1)$: shorter for $\rho > 3$ |
| Aiming | $\theta / (2 K_0 + b K_\rho \Delta^\rho)$ | `aiming_power` | shorter by $1/b$ |

Proofs are in docs/theory.md. All are derived.
"""

import math

from keras_h0h1.theory._guards import require, require_pl, require_positive
from keras_h0h1.theory.smoothness import Smoothness


def _above_1(smoothness: Smoothness) -> None:
    require("rho_above_1", smoothness.rho > 1, "rho > 1", rho=smoothness.rho)


def _share(power: float, fraction: float) -> float:
    """The least of (1 - (1 - x)^power) / (power x) for 0 < x <= fraction, at most 1."""
    if power <= 1 or fraction <= 0:
        return 1.0
    if fraction >= 1:
        return 1.0 / power
    return -math.expm1(power * math.log1p(-fraction)) / (power * fraction)


def reduced(smoothness: Smoothness, gap: float) -> Smoothness:
    r"""The constants with $\rho = 1$ that hold where the gap is at most `gap`.

    $H_0 = K_0$, $H_1 = K_\rho \Delta_0^{\rho - 1}$, for $\rho \ge 1$.

    Raises:
        GuardError: `rho_at_least_1`; `gap_positive`.

    Source: the papers' reduction, see arXiv 2509.07972.

    Example:

    >>> reduced(Smoothness(1.0, 2.0, rho=3.0), gap=10.0)
    Smoothness(H0=1.0, H1=200.0, f_star=0.0, rho=1.0)
    """
    rho = smoothness.rho
    require("rho_at_least_1", rho >= 1, "rho >= 1", rho=rho)
    require_positive(gap=gap)
    return Smoothness(smoothness.H0, smoothness.H1 * gap ** (rho - 1), smoothness.f_star)


def pl_power(smoothness: Smoothness, mu: float, gap: float, epsilon: float) -> float:
    r"""PL, rule sharp, $\rho > 1$: $1 + \frac{K_0}{\mu} \ln\frac{\Delta_0}{\varepsilon} +
    \frac{K_\rho}{c \rho \mu} (\Delta_0^\rho - \varepsilon^\rho)$.

    $c = (1 - (1 - \delta)^\rho) / (\rho \delta)$ with $\delta = \mu / \ell(\varepsilon)$, the
    largest share of the gap that the proof lets one step take; $1/\rho \le c \le 1$.

    Args:
        smoothness: The constants.
        mu: The PL constant.
        gap: $\Delta_0$, the gap at the start.
        epsilon: The gap to reach.

    Raises:
        GuardError: `rho_above_1`; `mu_positive`, `mu_at_most_H0`, `gap_positive`,
            `epsilon_positive`, `epsilon_at_most_gap`.

    Source: derived.

    Example: the bound with the reduced constants is about 3 times as large.

    >>> from keras_h0h1.theory.bounds import pl_sharp
    >>> cubic = Smoothness(1.0, 1.0, rho=3.0)
    >>> direct = pl_power(cubic, mu=0.1, gap=10.0, epsilon=1e-3)
    >>> round(pl_sharp(reduced(cubic, 10.0), 0.1, 10.0, 1e-3) / direct, 2)
    2.67
    """
    _above_1(smoothness)
    require_pl(smoothness, mu, gap, epsilon)
    rho, level = smoothness.rho, smoothness.f_star
    share = _share(rho, mu / float(smoothness.bound(level + epsilon)))
    growth = smoothness.H1 * (gap**rho - epsilon**rho) / (share * rho)
    return 1 + (smoothness.H0 * math.log(gap / epsilon) + growth) / mu


def convex_power(smoothness: Smoothness, distance: float, gap: float, epsilon: float) -> float:
    r"""Convex with a minimiser, rule sharp, $\rho > 1$: $1 + 2 d^2 \left(K_0
    (\frac1\varepsilon - \frac1{\Delta_0}) + \frac{K_\rho}{c (\rho - 1)} (\Delta_0^{\rho - 1} -
    \varepsilon^{\rho - 1})\right)$.

    $c = 1$ for $\rho \le 2$, else $(1 - (1 - \delta)^{\rho-1}) / ((\rho-1) \delta)$ with
    $\delta = \max_{\varepsilon \le \Delta \le \Delta_0} \Delta / (2 d^2 \ell(\Delta))$.

    Args:
        smoothness: The constants.
        distance: $d$, from the start to a minimiser.
        gap: $\Delta_0$, the gap at the start.
        epsilon: The gap to reach.

    Raises:
        GuardError: `rho_above_1`; `distance_positive`, `gap_positive`, `epsilon_positive`,
            `epsilon_at_most_gap`.

    Source: derived.

    Example:

    >>> round(convex_power(Smoothness(1.0, 1.0, rho=2.0), distance=1.0, gap=4.0, epsilon=0.1), 2)
    28.3
    """
    _above_1(smoothness)
    require_positive(distance=distance, gap=gap, epsilon=epsilon)
    require("epsilon_at_most_gap", epsilon <= gap, "epsilon <= gap", epsilon=epsilon, gap=gap)
    H0, H1, rho = smoothness.H0, smoothness.H1, smoothness.rho
    # gap / l(gap) is largest where H0 = (rho - 1) H1 gap^rho.
    peak = (H0 / ((rho - 1) * H1)) ** (1 / rho) if H1 > 0 else gap
    peak = min(max(peak, epsilon), gap)
    fraction = peak / (2 * distance**2 * float(smoothness.bound(smoothness.f_star + peak)))
    share = _share(rho - 1, min(fraction, 1.0))
    growth = H1 * (gap ** (rho - 1) - epsilon ** (rho - 1)) / (share * (rho - 1))
    return 1 + 2 * distance**2 * (H0 * (1 / epsilon - 1 / gap) + growth)


def aiming_denominator(smoothness: Smoothness) -> Smoothness:
    r"""$2 K_0 + b K_\rho \Delta^\rho$, $b = \max(2/(\rho + 1), 1/2)$, as constants.

    The step of `aiming_power` is $\theta$ divided by their `bound`.

    >>> aiming_denominator(Smoothness(1.0, 1.0, rho=3.0))
    Smoothness(H0=2.0, H1=0.5, f_star=0.0, rho=3.0)
    """
    growth = max(2 / (smoothness.rho + 1), 0.5) * smoothness.H1
    return Smoothness(2 * smoothness.H0, growth, smoothness.f_star, smoothness.rho)


def aiming_power(
    smoothness: Smoothness, distance: float, gap: float, epsilon: float, theta: float = 1.0
) -> float:
    r"""Aiming, step $\theta / m(\Delta)$ with $m = 2 K_0 + b K_\rho \Delta^\rho$, $\rho > 1$:
    $\frac{d^2}{\theta^2} \max\left(\frac{m(\varepsilon)}{\varepsilon},
    \frac{m(\Delta_0)}{\Delta_0}\right)$.

    $b = \max(2/(\rho + 1), 1/2)$: the first makes the distance to the minimiser shrink, the
    second keeps the gap from rising.

    Args:
        smoothness: The constants.
        distance: $d$, from the start to the minimiser of the Aiming condition.
        gap: $\Delta_0$, the gap at the start.
        epsilon: The gap to reach.
        theta: The Aiming constant, in (0, 1].

    Raises:
        GuardError: `rho_above_1`, `theta_in_range`; `distance_positive`, `gap_positive`,
            `epsilon_positive`, `epsilon_at_most_gap`.

    Source: derived.

    Example:

    >>> aiming_power(Smoothness(1.0, 1.0, rho=3.0), distance=1.0, gap=8.0, epsilon=0.5)
    32.25
    """
    _above_1(smoothness)
    require_positive(distance=distance, gap=gap, epsilon=epsilon)
    require("epsilon_at_most_gap", epsilon <= gap, "epsilon <= gap", epsilon=epsilon, gap=gap)
    require("theta_in_range", 0 < theta <= 1, "0 < theta <= 1", theta=theta)
    denominator = aiming_denominator(smoothness)
    level = smoothness.f_star
    worst = max(float(denominator.bound(level + at)) / at for at in (epsilon, gap))
    return (distance / theta) ** 2 * worst
