r"""The step sizes that take a lower bound of the loss into account, as pure functions.

Polyak's step and its descendants (SPS, ALI-G, NGN, MoMo), and the rule for normalised steps. Like
those of `keras_h0h1.step_sizes` they take Python numbers, NumPy arrays or tensors of the active
backend, and nothing else in the package repeats a formula.

Notation: $f$ `loss`, $f^*$ `f_min` or `f_star` (a lower bound of the loss),
$\Delta = \max(f - f^*, 0)$ the gap, $G$ `gradient_norm`. A norm may be that of any scalar product:
with a preconditioner $D$ it is $\sqrt{\sum_i g_i^2 / D_i}$.

References:
    Nicolas Loizou, Sharan Vaswani, Issam Laradji, Simon Lacoste-Julien, "Stochastic Polyak
        Step-size for SGD: An Adaptive Learning Rate for Fast Convergence", arXiv 2002.10542 (2020):
        `polyak`.
    Guillaume Garrigos, Robert Gower, Fabian Schaipp, "Function Value Learning: Adaptive
        Learning Rates Based on the Polyak Stepsize and Function Splitting in ERM", arXiv 2307.14528
        (2023): its variant `"sps+"`.
    Leonard Berrada, Andrew Zisserman, Pawan Kumar, "Training Neural Networks for and by
        Interpolation", arXiv 1906.05661 (2019): ALI-G, `polyak` with `eps` > 0.
    Antonio Orvieto, Lin Xiao, "An Adaptive Stochastic Gradient Method with Non-negative
        Gauss-Newton Stepsizes", arXiv 2407.04358 (2024): `ngn`.
    Fabian Schaipp, Ruben Ohana, Michael Eickenberg, Aaron Defazio, Robert Gower, "MoMo: Momentum
        Models for Adaptive Learning Rates", arXiv 2305.07583 (2023): `momo`, `momo_lower_bound`.
    Artem Riabinin, Andrey Veprikov, Arman Bolatov, Martin Takáč, Aleksandr Beznosikov, "Where Does
        Warm-Up Come From? Adaptive Scheduling for Norm-Constrained Optimizers", arXiv 2602.05813
        (2026): the three functions named `norm_constrained`.
"""

import numpy as np

from keras_h0h1._arrays import namespace
from keras_h0h1._types import Numeric
from keras_h0h1.step_sizes import gap

# A squared norm up to this counts as 0: no step is taken. The value of optax, whatever the dtype.
_NO_GRADIENT = 2.0**-52


def _ratio(numerator, squared_norm):
    """The quotient, and 0 where the norm vanishes."""
    xp = namespace(numerator, squared_norm)
    vanishes = squared_norm <= _NO_GRADIENT
    safe = xp.where(vanishes, xp.ones_like(squared_norm), squared_norm)
    return xp.where(vanishes, xp.zeros_like(squared_norm), numerator / safe)


def polyak(
    loss: Numeric,
    gradient_norm: Numeric,
    max_learning_rate: Numeric,
    f_min: Numeric = 0.0,
    eps: Numeric = 0.0,
    variant: str = "sps",
    scaling: float = 1.0,
    c: float = 1.0,
) -> Numeric:
    r"""$\eta = s \min\left(\frac{f - f^*}{c\, s^2 G^2 + \epsilon}, \eta_\max\right)$, SPS_max.

    `variant="sps+"` has the gap $\Delta$ in place of $f - f^*$, which is negative where the loss
    is below `f_min`. $s$ is `scaling`; as in optax 0.2.8, which scales the gradient first, it is
    squared in the denominator, so that $\eta = \min((f - f^*) / (s\, G^2), s\, \eta_\max)$ for
    `eps=0`.

    Example:

    >>> float(polyak(1.0, 2.0, max_learning_rate=1.0)), float(polyak(8.0, 2.0, 1.0))
    (0.25, 1.0)
    """
    xp = namespace(loss, gradient_norm)
    height = gap(loss, f_min) if variant == "sps+" else loss - f_min
    step = _ratio(height, c * (scaling * gradient_norm) ** 2 + eps)
    return scaling * xp.minimum(step, max_learning_rate)


def ngn(
    loss: Numeric, gradient_norm: Numeric, learning_rate: Numeric, f_min: Numeric = 0.0
) -> Numeric:
    r"""$\gamma = \frac{c}{1 + c\, G^2 / (2 \Delta)}$ with $c$ = `learning_rate`.

    At most `learning_rate`, and at most $2 \Delta / G^2$. It is 0 at a gap of 0.

    Example:

    >>> float(ngn(2.0, 2.0, learning_rate=1.0)), float(ngn(0.0, 2.0, learning_rate=1.0))
    (0.5, 0.0)
    """
    xp = namespace(loss, gradient_norm)
    doubled = 2.0 * gap(loss, f_min)
    whole = doubled + learning_rate * gradient_norm**2
    positive = whole > 0.0
    safe = xp.where(positive, whole, xp.ones_like(whole))
    return learning_rate * xp.where(positive, doubled / safe, xp.zeros_like(whole))


def momo(
    mean_loss: Numeric,
    mean_product: Numeric,
    product: Numeric,
    squared_norm: Numeric,
    learning_rate: Numeric,
    lower_bound: Numeric = 0.0,
    weight_decay: Numeric = 0.0, correction: Numeric = 1.0,
) -> Numeric:  # fmt: skip
    r"""$\tau = \min\left(\frac{\alpha}{\kappa},
    \frac{[(1 + \alpha\lambda)(\bar f - \kappa f_* - \gamma) + \langle d, w \rangle]_+}
    {\|d\|^2_{D^{-1}}}\right)$, MoMo's step along the averaged gradient $d$.

    Args:
        mean_loss: $\bar f$, the exponential average of the losses.
        mean_product: $\gamma$, the average, with the same weights, of $\langle g, w \rangle$.
        product: $\langle d, w \rangle$.
        squared_norm: $\|d\|^2_{D^{-1}} = \sum_i d_i^2 / D_i$; without preconditioner $\|d\|^2$.
        learning_rate: $\alpha$, the largest step.
        lower_bound: $f_*$, a lower bound of the loss.
        weight_decay: $\lambda$.
        correction: $\kappa$, the sum of the average's weights, $1 - \beta^k$ if it started at 0.

    Example: along one gradient it is Polyak's step.

    >>> float(momo(1.0, 0.0, 0.0, 4.0, learning_rate=1.0))
    0.25
    """
    xp = namespace(mean_loss, mean_product, product, squared_norm, learning_rate)
    growth = 1.0 + learning_rate * weight_decay
    height = growth * (mean_loss - correction * lower_bound - mean_product) + product
    step = _ratio(xp.maximum(height, xp.zeros_like(height)), squared_norm)
    return xp.minimum(learning_rate / correction, step)


def momo_reset(
    mean_loss: Numeric,
    mean_product: Numeric,
    product: Numeric,
    learning_rate: Numeric,
    estimate: Numeric,
    lower_bound: Numeric = 0.0,
    weight_decay: Numeric = 0.0,
    correction: Numeric = 1.0,
) -> Numeric:  # fmt: skip
    r"""The running estimate of the infimum, lowered where it would leave no step at all.

    Where $h = (1 + \alpha\lambda)(\bar f - \gamma) + \langle d, w \rangle$ is below
    $(1 + \alpha\lambda)\kappa f_*$, the estimate $f_*$ becomes
    $\max(h / (2 \kappa (1 + \alpha\lambda)), b)$ with $b$ = `lower_bound`. Arguments as in `momo`.

    Example:

    >>> float(momo_reset(1.0, 0.0, 0.0, 0.1, estimate=3.0)), float(momo_reset(4.0, 0, 0, 0.1, 3.0))
    (0.5, 3.0)
    """
    xp = namespace(mean_loss, mean_product, product, learning_rate, estimate)
    growth = 1.0 + learning_rate * weight_decay
    height = growth * (mean_loss - mean_product) + product
    lowered = xp.maximum(height / (2.0 * correction * growth), lower_bound)
    return xp.where(height < growth * correction * estimate, lowered, estimate)


def momo_lower_bound(
    mean_loss: Numeric,
    mean_product: Numeric,
    product: Numeric,
    squared_norm: Numeric,
    step: Numeric,
    lower_bound: Numeric = 0.0,
    correction: Numeric = 1.0,
) -> Numeric:
    r"""$\max\left(\frac{\bar f + \langle d, w \rangle - \gamma - \tau \|d\|^2_{D^{-1}} / 2}
    {\kappa}, b\right)$, the estimate of the infimum for the next step.

    $\tau$ is `step`, $b$ `lower_bound`; the others are those of `momo`.

    Example:

    >>> float(momo_lower_bound(1.0, 0.0, 0.0, 4.0, step=0.25))
    0.5
    """
    xp = namespace(mean_loss, mean_product, product, squared_norm, step)
    height = mean_loss + product - mean_product - 0.5 * step * squared_norm
    return xp.maximum(height / correction, lower_bound)


def norm_constrained(
    loss: Numeric, K0: Numeric, K1: Numeric, K2: Numeric, f_star: Numeric = 0.0, eps: Numeric = 1e-8
) -> Numeric:
    r"""$\eta = \Delta / (K_0 + K_1 \Delta + K_2 \Delta^2)$ with $\Delta = \max(f - f^*, \epsilon)$.

    Rises while the gap falls to $\Delta_\star = \sqrt{K_0 / K_2}$, where it is
    $1 / (K_1 + 2 \sqrt{K_0 K_2})$, and falls below. For steps of a given norm, such as those of
    sign descent, Lion and Muon.

    Example:

    >>> [float(norm_constrained(gap, K0=1.0, K1=0.0, K2=1.0)) for gap in (2.0, 1.0, 0.5)]
    [0.4, 0.5, 0.4]
    """
    xp = namespace(loss)
    height = xp.maximum(gap(loss, f_star), eps)
    return height / (K0 + K1 * height + K2 * height * height)


def norm_constrained_factor(
    loss: Numeric,
    first_gap: Numeric,
    peak_gap: Numeric,
    first_factor: Numeric,
    f_star: Numeric = 0.0,
    eps: Numeric = 1e-8,
) -> Numeric:
    r"""$\frac{\Delta}{\Delta + q (\Delta - \Delta_\star)^2}$ with
    $q = \frac{\Delta_0 (1/r_0 - 1)}{(\Delta_0 - \Delta_\star)^2}$: the rule over its peak.

    It is $r_0$ = `first_factor` at the gap $\Delta_0$ and 1 at $\Delta_\star$. The constants of
    `norm_constrained_constants` are large numbers that nearly cancel; here nothing does.

    Example:

    >>> [round(float(norm_constrained_factor(gap, 10.0, 4.0, 0.1)), 3) for gap in (10.0, 4.0, 1.0)]
    [0.1, 1.0, 0.043]
    """
    xp = namespace(loss, first_gap)
    height = xp.maximum(gap(loss, f_star), eps)
    q = first_gap * (1.0 / first_factor - 1.0) / (first_gap - peak_gap) ** 2
    return height / (height + q * (height - peak_gap) ** 2)


def norm_constrained_peak_gap(first_gap: float, first_factor: float) -> float:
    r"""$\Delta_\star$ with which the rule warms up most like a straight line.

    It is the smallest mean over $[\Delta_\star, \Delta_0]$ of
    $|\varphi - \ell| + |\varphi' - \ell'|$, with $\varphi$ the rule over its peak,
    `norm_constrained_factor`, and $\ell$ the line in $\Delta$ from $r_0$ = `first_factor` at
    $\Delta_0$ to 1 at $\Delta_\star$; the criterion of the authors' code. It adds a rate to a rate
    per loss, so it depends on the unit of the loss, which is nats in the paper.

    Args:
        first_gap: Float > 0, $\Delta_0$.
        first_factor: Float in (0, 1).

    Returns:
        Float in (0, $\Delta_0$), to about $10^{-4} \Delta_0$.

    References:
        Artem Riabinin, Andrey Veprikov, Arman Bolatov, Martin Takáč, Aleksandr Beznosikov, "Where
            Does Warm-Up Come From? Adaptive Scheduling for Norm-Constrained Optimizers", arXiv
            2602.05813 (2026).

    Example: a language model's first loss, from a hundredth of the peak.

    >>> round(norm_constrained_peak_gap(10.8, 0.01), 1)
    1.8
    """
    shares, width = np.linspace(0.005, 0.995, 100), 0.01
    for _ in range(3):
        costs = [_distance_from_line(s * first_gap, first_gap, first_factor) for s in shares]
        best = shares[int(np.argmin(costs))]
        shares = np.linspace(max(best - width, 1e-4), min(best + width, 1.0 - 1e-4), 21)
        width /= 10.0
    return float(best * first_gap)


def _distance_from_line(peak_gap, first_gap, first_factor):
    # Dense near the peak, where the rule may be far narrower than the line.
    gaps = peak_gap + (first_gap - peak_gap) * np.linspace(0.0, 1.0, 2001) ** 3
    q = first_gap * (1.0 / first_factor - 1.0) / (first_gap - peak_gap) ** 2
    bound = gaps + q * (gaps - peak_gap) ** 2
    slope = (first_factor - 1.0) / (first_gap - peak_gap)
    distance = np.abs(gaps / bound - 1.0 - slope * (gaps - peak_gap))
    distance += np.abs(q * (peak_gap**2 - gaps**2) / bound**2 - slope)
    steps = np.diff(gaps)
    return float(np.sum(0.5 * steps * (distance[1:] + distance[:-1])) / (first_gap - peak_gap))


def norm_constrained_constants(
    peak: Numeric, first: Numeric, first_gap: Numeric, peak_gap: Numeric
) -> tuple[float, float, float]:
    r"""$(K_0, K_1, K_2)$ with $\eta(\Delta_0)$ = `first` and, at its largest,
    $\eta(\Delta_\star)$ = `peak`.

    $$K_2 = \frac{\Delta_0 (r - 1)}{\text{peak}\,(\Delta_0 - \Delta_\star)^2}, \quad
    K_0 = K_2 \Delta_\star^2, \quad K_1 = \frac{1}{\text{peak}} - 2 K_2 \Delta_\star,
    \quad r = \frac{\text{peak}}{\text{first}}$$

    $K_1$ may be negative; the denominator is positive all the same, since it equals
    $\Delta / \text{peak} + K_2 (\Delta - \Delta_\star)^2$.

    Example: from 1e-4 at a gap of 10 to 1e-3 at a gap of 4.

    >>> constants = norm_constrained_constants(1e-3, 1e-4, first_gap=10.0, peak_gap=4.0)
    >>> [round(float(norm_constrained(gap, *constants)), 6) for gap in (10.0, 4.0, 1.0)]
    [0.0001, 0.001, 4.3e-05]
    """
    K2 = first_gap * (peak / first - 1.0) / (peak * (first_gap - peak_gap) ** 2)
    return K2 * peak_gap**2, 1.0 / peak - 2.0 * K2 * peak_gap, K2
