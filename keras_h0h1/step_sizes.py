r"""The step sizes, as pure functions of the loss and of the smoothness constants.

Everything else in the package calls these functions; no formula is written a second time.
They take Python numbers, NumPy arrays or tensors of the active backend. With only Python and
NumPy arguments they compute in NumPy (float64 stays float64, whatever the backend's default);
with a tensor among the arguments they compute with `keras.ops` and can be compiled.

Notation, that of the two papers:

| symbol | argument | meaning |
|---|---|---|
| $f$ | `loss` | the loss at the current weights |
| $f^*$ | `f_star` | its infimum, or a lower bound on it |
| $\Delta = \max(f - f^*, 0)$ | | the gap |
| $H_0, H_1, \rho$ | `H0, H1, rho` | $\|\nabla^2 f\| \le \ell(\Delta) = H_0 + H_1 \Delta^\rho$ |
| $G$ | `gradient_norm` | $\|\nabla f\|$ |

References:
    Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
        A Theoretical Perspective", arXiv 2510.03164 (2025): rules `alimisis`, `practical`.
    Yuxing Liu, Yuze Ge, Rui Pan, An Kang, Tong Zhang, "Theoretical Analysis on how
        Learning Rate Warmup Accelerates Convergence", arXiv 2509.07972 (2025): rule `power`.

The rules `sharp` and `envelope` follow from the descent lemma: for $0 < \eta \le 2/\ell(\Delta)$,
$f(w - \eta \nabla f) \le f(w) - \eta (1 - \eta \ell(\Delta) / 2) G^2$.
"""

import numpy as np

from keras_h0h1._arrays import namespace
from keras_h0h1._types import Numeric


def gap(loss: Numeric, f_star: Numeric = 0.0) -> Numeric:
    r"""$\Delta = \max(f - f^*, 0)$: how far the loss is above its minimum.

    Example:

    >>> float(gap(3.0, f_star=1.0)), float(gap(0.5, f_star=1.0))
    (2.0, 0.0)
    """
    xp = namespace(loss)
    return xp.maximum(loss - f_star, xp.zeros_like(loss))


def _growth(gap, H1, rho):
    r"""$H_1 \Delta^\rho$, also where $\Delta^\rho$ alone is beyond the largest number.

    0 times infinity would be NaN, and a bound cut off at the largest number a step too long.
    """
    xp = namespace(gap)
    if isinstance(H1, (int, float)) and H1 == 0:
        return xp.zeros_like(gap * 1.0)
    with np.errstate(over="ignore"):
        direct = H1 * gap**rho
        # Up to an exponent of 1 the power is beyond no number that the gap is not beyond.
        if not isinstance(rho, (int, float)) or rho <= 1.0:
            return direct
        return xp.where(xp.isfinite(direct), direct, (H1 ** (1.0 / rho) * gap) ** rho)


def curvature_bound(
    loss: Numeric, H0: Numeric, H1: Numeric, f_star: Numeric = 0.0, rho: Numeric = 1.0
) -> Numeric:
    r"""$\ell(\Delta) = H_0 + H_1 \Delta^\rho$, the bound on $\|\nabla^2 f\|$.

    Example:

    >>> float(curvature_bound(3.0, H0=1.0, H1=2.0))
    7.0
    """
    return H0 + _growth(gap(loss, f_star), H1, rho)


def _reciprocal(bound):
    """1/bound, and 0 where the bound is 0: a minimiser, where inf times 0 would be NaN."""
    xp = namespace(bound)
    positive = bound > 0
    return xp.where(positive, 1.0 / xp.where(positive, bound, xp.ones_like(bound)), 0.0 * bound)


def alimisis(loss: Numeric, H0: Numeric, H1: Numeric, f_star: Numeric = 0.0) -> Numeric:
    r"""$\eta = 1 / (10 H_0 + 20 H_1 \Delta)$, the rule whose rates
    Alimisis and others prove.

    Example:

    >>> float(alimisis(2.0, H0=1.0, H1=1.0))
    0.02
    """
    return _reciprocal(curvature_bound(loss, 10.0 * H0, 20.0 * H1, f_star))


# An earlier name, kept for code that has it: two papers have a rule.
paper = alimisis


def sharp(
    loss: Numeric, H0: Numeric, H1: Numeric, f_star: Numeric = 0.0, rho: Numeric = 1.0
) -> Numeric:
    r"""$\eta = 1 / \ell(\Delta)$, the step that minimises the descent lemma's bound.

    Example:

    >>> float(sharp(3.0, H0=1.0, H1=1.0))
    0.25
    """
    return _reciprocal(curvature_bound(loss, H0, H1, f_star, rho))


def practical_factor(
    loss: Numeric, C: Numeric, f_star: Numeric = 0.0, rho: Numeric = 1.0
) -> Numeric:
    r"""$1 / \max(1, (\Delta / C)^\rho)$, what the practical rule multiplies the base rate by.

    Exactly 1 as soon as the gap is at most `C`. Paper A's rule has `f_star=0` and `rho=1`. A
    factor below the smallest number of its dtype is 0: in float32 that is a gap of $10^{38}$ `C`,
    or of $10^{38/\rho}$ `C`.

    Example: a language model with 50,280 words starts at loss ln 50280 = 10.83.

    >>> round(float(practical_factor(10.83, C=5.0)), 3)
    0.462
    """
    xp = namespace(loss)
    return 1.0 / xp.maximum((gap(loss, f_star) / C) ** rho, xp.ones_like(loss))


def power(
    loss: Numeric,
    H0: Numeric,
    H1: Numeric,
    f_star: Numeric = 0.0,
    rho: Numeric = 1.0,
    c: float = 0.5,
) -> Numeric:
    r"""$\eta = c \min(1/H_0, \Delta^{-\rho} / (3^\rho H_1))$, the rule of Liu and others for
    $(\rho, K_0, K_\rho)$-smoothness with $K_0 = H_0$, $K_\rho = H_1$.

    `c = 1/2` is safe for every $\rho > 0$, by the descent lemma:
    $c \min(1/a, 1/b) \le 1/(a + b)$ for `c = 1/2`.

    Example:

    >>> round(float(power(8.0, H0=1.0, H1=1.0)), 6)
    0.020833
    """
    xp = namespace(loss)
    # Without H1 the exponent does not matter, and Python's floats overflow with an error.
    scaled = 0.0 if isinstance(H1, (int, float)) and H1 == 0 else 3.0**rho * H1
    growth = _growth(gap(loss, f_star), scaled, rho)
    return c * _reciprocal(xp.maximum(growth, xp.zeros_like(loss) + H0))


def envelope(
    loss: Numeric, gradient_norm: Numeric, H0: Numeric, H1: Numeric, f_star: Numeric = 0.0
) -> Numeric:
    r"""$\eta = \operatorname{artanh}(x) / (\sqrt{H_1} G)$ with $x = \sqrt{H_1} G / \ell(\Delta)$.

    The longest step that the worst (H0, H1)-smooth function with this loss *and* gradient norm
    allows; never shorter than `sharp`, and equal to it as the gradient vanishes. $x < 1$ for
    every (H0, H1)-smooth function; a noisy mini-batch may break that, so `x` is clipped
    to $1 - 10^{-6}$, at which the step is 7.25 times that of `sharp`.

    Example:

    >>> round(float(envelope(0.0, 0.0, H0=1.0, H1=1.0)), 6)
    1.0
    >>> round(float(envelope(1.0, 1.0, H0=1.0, H1=1.0)), 6)
    0.549306
    """
    xp = namespace(loss, gradient_norm)
    bound = curvature_bound(loss, H0, H1, f_star)
    step = _reciprocal(bound)
    x = xp.minimum(H1**0.5 * gradient_norm * step, 1.0 - 1e-6)
    # artanh(x)/x loses its digits near 0; two terms of the series are exact there.
    small = x < 1e-4
    safe = xp.where(small, xp.ones_like(x) * 0.5, x)
    # Outside TensorFlow Keras computes arctanh in float32 always; log1p keeps float64.
    artanh = 0.5 * (xp.log1p(safe) - xp.log1p(-safe))
    ratio = xp.where(small, 1.0 + x * x / 3.0, artanh / safe)
    return step * ratio
