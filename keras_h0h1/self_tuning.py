r"""The formulas behind `C="auto"`, `f_star="auto"` and the spike guard.

Pure functions of scalars, as those of `keras_h0h1.step_sizes`: Python numbers, NumPy arrays or
tensors of the active backend.
"""

from keras_h0h1._arrays import namespace
from keras_h0h1._types import Numeric


def moving_average(average: Numeric, value: Numeric, decay: Numeric) -> Numeric:
    r"""$\bar f_k = s \bar f_{k-1} + (1 - s) f_k$, before the start-up bias is removed.

    Example:

    >>> round(moving_average(0.0, 4.0, decay=0.75), 6)
    1.0
    """
    return decay * average + (1.0 - decay) * value


def unbiased(average: Numeric, count: Numeric, decay: Numeric) -> Numeric:
    r"""$\bar f_k / (1 - s^k)$: the average of the `count` values that were seen.

    Example:

    >>> round(unbiased(moving_average(0.0, 4.0, decay=0.75), 1, decay=0.75), 6)
    4.0
    """
    return average / (1.0 - decay**count)


def mean_age(count: Numeric, decay: Numeric) -> Numeric:
    r"""Mean age, in steps, of the values in an unbiased average: $s/(1-s) - k s^k/(1-s^k)$.

    Example: equal weights at first, $s / (1 - s)$ in the long run.

    >>> round(mean_age(2, decay=0.5), 6), round(mean_age(1000, decay=0.5), 6)
    (0.333333, 1.0)
    """
    remaining = decay**count
    return decay / (1.0 - decay) - count * remaining / (1.0 - remaining)


def relative_fall(
    fast: Numeric,
    slow: Numeric,
    count: Numeric,
    fast_decay: Numeric,
    slow_decay: Numeric,
    f_star: Numeric = 0.0,
    steps: Numeric = 100.0,
) -> Numeric:
    r"""By what share of the gap the loss falls in `steps` steps, from two moving averages.

    $$\frac{n}{\bar f_\text{fast} - f^*} \cdot
    \frac{\bar f_\text{slow} - \bar f_\text{fast}}{a_\text{slow} - a_\text{fast}}$$

    with the averages' mean ages $a$; exact for a loss that falls linearly. 0 before the second
    loss, and where the gap is not positive.

    Args:
        fast: Unbiased moving average with the smaller decay.
        slow: Unbiased moving average with the larger decay.
        count: Number of losses in both.
        fast_decay: Decay of `fast`.
        slow_decay: Decay of `slow`.
        f_star: The infimum of the loss, or a lower bound on it.
        steps: The $n$ of the formula.

    Example: a loss that falls from 10 by 0.01 a step falls by about a tenth in 100 steps.

    >>> fast = slow = 0.0
    >>> for k in range(1, 31):
    ...     loss = 10.0 - 0.01 * (k - 1)
    ...     fast, slow = moving_average(fast, loss, 0.9), moving_average(slow, loss, 0.99)
    >>> fast, slow = unbiased(fast, 30, 0.9), unbiased(slow, 30, 0.99)
    >>> round(float(relative_fall(fast, slow, 30, 0.9, 0.99)), 3)
    0.102
    """
    xp = namespace(fast, slow, count)
    ages = mean_age(count, slow_decay) - mean_age(count, fast_decay)
    gap = fast - f_star
    known = xp.logical_and(ages > 0.0, gap > 0.0)
    slope = (slow - fast) / xp.where(known, ages, 1.0)
    return xp.where(known, steps * slope / xp.where(known, gap, 1.0), 0.0)


def stalled_share(fall: Numeric, tolerance: Numeric) -> Numeric:
    r"""$\min(\max(1 - r/\tau, 0), 1)$: 1 where the loss does not fall, 0 where it falls by $\tau$.

    Example:

    >>> [float(stalled_share(fall, tolerance=0.1)) for fall in (-1.0, 0.05, 0.2)]
    [1.0, 0.5, 0.0]
    """
    xp = namespace(fall)
    return xp.clip(1.0 - fall / tolerance, 0.0, 1.0)


def lower_bound(lowest: Numeric) -> Numeric:
    r"""$\min(0, 2 \min_i f_i)$: 0 until a negative loss is seen, then twice the lowest loss.

    A lower bound on every loss that was seen, not on those to come.

    Example:

    >>> float(lower_bound(0.3)), float(lower_bound(-1.5))
    (0.0, -3.0)
    """
    xp = namespace(lowest)
    return xp.minimum(2.0 * lowest, 0.0 * lowest)


def spike_factor(loss: Numeric, mean: Numeric, deviation: Numeric, threshold: Numeric) -> Numeric:
    r"""$1 / \max(1, z / z_\text{max})^2$ with $z = (f - \bar f) / \sigma$.

    1 for a loss up to `threshold` standard deviations above the mean.

    Example: 8 deviations above the mean, with a threshold of 4.

    >>> float(spike_factor(3.0, mean=1.0, deviation=0.25, threshold=4.0))
    0.25
    """
    xp = namespace(loss)
    z = (loss - mean) / deviation
    return 1.0 / xp.maximum(z / threshold, xp.ones_like(z)) ** 2
