r"""Warm-up and decay by the step alone, as pure functions: what a base rate is multiplied by.

Each takes Python numbers, NumPy arrays or tensors of the active backend, and computes in NumPy or
in `keras.ops` accordingly, as `keras_h0h1.step_sizes` does. The schedules in
`keras_h0h1.schedules` call these functions; no formula is written a second time.

$t = 1, 2, \dots$ counts the updates *including the one to be taken*, as the papers do. Keras hands
a schedule the number of updates taken, 0 at first, so a schedule passes `step + 1`: the first
update has a rate above 0.

References:
    Jerry Ma, Denis Yarats, "On the adequacy of untuned warmup for adaptive optimization",
        arXiv 1910.04209 (2019): `untuned_linear`, `untuned_exponential`.
    Liyuan Liu, Haoming Jiang, Pengcheng He, Weizhu Chen, Xiaodong Liu, Jianfeng Gao, Jiawei Han,
        "On the Variance of the Adaptive Learning Rate and Beyond", arXiv 1908.03265 (2019):
        `rectification`.
    Shengding Hu et al., "MiniCPM: Unveiling the Potential of Small Language Models
        with Scalable Training Strategies", arXiv 2404.06395 (2024): warm-up, stable, decay.
    Alexander Hägele, Elie Bakouch, Atli Kosson, Loubna Ben Allal, Leandro Von Werra, Martin Jaggi,
        "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", arXiv
        2405.18392 (2024): the decay `"1-sqrt"`.
    Jingzhao Zhang, Tianxing He, Suvrit Sra, Ali Jadbabaie, "Why gradient clipping accelerates
        training: A theoretical justification for adaptivity", arXiv 1905.11881 (2019):
        `gradient_norm_rate`.
"""

import math

import numpy as np

from keras_h0h1._arrays import namespace
from keras_h0h1._types import Numeric

DECAY_TYPES = ("linear", "cosine", "1-sqrt")


def linear(t: Numeric, duration: Numeric) -> Numeric:
    r"""$\min(1, t / T)$: linear warm-up over `duration` updates; 1 throughout for a duration of 0.

    Example:

    >>> [float(linear(t, 4)) for t in (1, 2, 4, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    xp = namespace(t)
    t = t * 1.0
    if duration == 0:
        return xp.ones_like(t)
    return xp.minimum(t / duration, xp.ones_like(t))


def untuned_linear(t: Numeric, beta_2: Numeric = 0.999) -> Numeric:
    r"""$\min(1, (1 - \beta_2)\, t / 2)$: linear warm-up over $2 / (1 - \beta_2)$ updates.

    Example: 2,000 updates with Adam's usual $\beta_2$.

    >>> [round(float(untuned_linear(t, 0.999)), 4) for t in (1, 1000, 2000, 3000)]
    [0.0005, 0.5, 1.0, 1.0]
    """
    return linear(t, 2.0 / (1.0 - beta_2))


def untuned_exponential(t: Numeric, beta_2: Numeric = 0.999) -> Numeric:
    r"""$1 - e^{-(1 - \beta_2)\, t}$: exponential warm-up with time constant $1 / (1 - \beta_2)$.

    Example:

    >>> [round(float(untuned_exponential(t, 0.999)), 4) for t in (1, 1000, 2000)]
    [0.001, 0.6321, 0.8647]
    """
    # Near 0 the difference 1 - exp(-x) has lost its digits; expm1 keeps them.
    return -namespace(t).expm1(-(1.0 - beta_2) * t)


def approximated_length(t: Numeric, beta_2: Numeric = 0.999) -> Numeric:
    r"""RAdam's $\rho_t = \rho_\infty - 2 t \beta_2^t / (1 - \beta_2^t)$,
    $\rho_\infty = 2 / (1 - \beta_2) - 1$.

    Example: the first of Adam's second moments is that of one gradient, the fifth of about five.

    >>> [round(float(approximated_length(t, 0.999)), 2) for t in (1, 5, 10000)]
    [1.0, 5.0, 1998.1]
    """
    xp = namespace(t)
    decay = -math.log(beta_2)
    y = decay * t
    # rho_t is the small difference of two numbers near 2 / (1 - beta_2). With y = -t ln(beta_2) it
    # is (coth(y_1 / 2) - 2 / y_1) + (2 / y_1) (1 - y / (e^y - 1)), y_1 = y at t = 1, where neither
    # term loses digits, if the last difference is taken from its series for small y.
    offset = 2.0 / (1.0 - beta_2) - 1.0 - 2.0 / decay
    small = y < 0.5
    square = y * y
    series = y / 2.0 - square / 12.0 * (
        1.0 - square / 60.0 * (1.0 - square / 42.0 * (1.0 - square / 40.0 * (1.0 - square / 39.6)))
    )
    with np.errstate(over="ignore"):
        direct = 1.0 - y / xp.expm1(xp.where(small, xp.ones_like(y), y))
    return offset + (2.0 / decay) * xp.where(small, series, direct)


def rectification(t: Numeric, beta_2: Numeric = 0.999) -> Numeric:
    r"""RAdam's rectification $r_t$, with $\rho_t$ from `approximated_length`.

    $$r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\,\rho_\infty}
                       {(\rho_\infty - 4)(\rho_\infty - 2)\,\rho_t}}$$

    where $\rho_t > 5$, as in the authors' code and in `torch.optim.RAdam`. Before that RAdam is
    gradient descent with momentum, which no factor on the rate can express; here $\rho_t$ counts
    as 5, so that the first updates take a short step rather than none. Needs $\beta_2 > 2/3$,
    or $\rho_\infty \le 5$ and nothing is ever rectified.

    Example:

    >>> [round(float(rectification(t, 0.999)), 4) for t in (1, 6, 1000, 10000)]
    [0.0174, 0.0258, 0.6453, 0.9998]
    """
    limit = 2.0 / (1.0 - beta_2) - 1.0
    xp = namespace(t)
    length = approximated_length(t, beta_2)
    length = xp.where(length > 5.0, length, xp.ones_like(length) * 5.0)
    scale = limit / ((limit - 4.0) * (limit - 2.0))
    return xp.sqrt(scale * (length - 4.0) * (length - 2.0) / length)


def decay(progress: Numeric, decay_type: str = "linear") -> Numeric:
    r"""The weight of the peak rate in a final decay, from 1 at `progress` 0 to 0 at 1.

    With $u$ the progress, clipped to [0, 1]: `"linear"` $1 - u$, `"cosine"`
    $(1 + \cos \pi u) / 2$, `"1-sqrt"` $1 - \sqrt u$.

    Example:

    >>> [round(float(decay(0.25, kind)), 4) for kind in ("linear", "cosine", "1-sqrt")]
    [0.75, 0.8536, 0.5]
    """
    xp = namespace(progress)
    progress = xp.clip(progress * 1.0, 0.0, 1.0)
    if decay_type == "linear":
        return 1.0 - progress
    if decay_type == "cosine":
        return 0.5 + 0.5 * xp.cos(math.pi * progress)
    if decay_type == "1-sqrt":
        return 1.0 - xp.sqrt(progress)
    listed = ", ".join(repr(choice) for choice in DECAY_TYPES)
    raise ValueError(f"`decay_type` must be one of {listed}. Received: decay_type={decay_type!r}")


def gradient_norm_rate(gradient_norm: Numeric, L0: Numeric, L1: Numeric) -> Numeric:
    r"""$\eta = 1 / (L_0 + L_1 \|g\|)$, for $\|\nabla^2 f\| \le L_0 + L_1 \|\nabla f\|$.

    0 where the bound is 0, as `step_sizes.sharp`.

    Example:

    >>> float(gradient_norm_rate(3.0, L0=1.0, L1=1.0))
    0.25
    """
    xp = namespace(gradient_norm)
    bound = L0 + L1 * gradient_norm
    positive = bound > 0
    return xp.where(positive, 1.0 / xp.where(positive, bound, xp.ones_like(bound)), 0.0 * bound)
