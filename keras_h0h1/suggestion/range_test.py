"""Leslie Smith's learning-rate range test."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class RangeTest:
    r"""What a range test saw.

    The scatter between batches hides a fall of the loss that is smaller. So the batches come again
    and again, and each loss is compared with that of the same batch at the start, $f_b(w_0)$.

    Attributes:
        rates: The rates, growing, shape `(n,)`.
        losses: $\bar f_0 + f_b(w_i) - f_b(w_0)$ after the update at `rates[i]`, with $\bar f_0$
            the mean of all batches at the start; not finite at the end if it blew up. Shape `(n,)`.
        batch_losses: $f_b(w_i)$, as they were, shape `(n,)`.
        first_losses: $f_b(w_0)$ of all batches, at weights that have hardly moved.
        stopped_early: Whether the loss blew up before the largest rate was reached.
    """

    rates: np.ndarray
    losses: np.ndarray
    batch_losses: np.ndarray
    first_losses: np.ndarray
    stopped_early: bool


def range_test(
    update: Callable[[float], float],
    rates: np.ndarray,
    *,
    windows: int,
    stop_factor: float = 4.0,
    smoothing: float = 0.6,
    before_update: Callable[[], None] = lambda: None,
    on_lowest: Callable[[], None] = lambda: None,
) -> RangeTest:
    r"""Updates at one rate after the other until the loss blows up.

    It stops where the loss is not finite or its moving average $\bar f$ exceeds
    $m + (s - 1) \max(|m|, \bar f_0 - m)$, with $m$ its smallest value so far and $s$ the
    `stop_factor`: $s\,m$ where the loss is positive and has not fallen far.

    Args:
        update: From a rate to the loss before the update that it makes.
        rates: To try, growing. The first `windows` updates are made at the smallest.
        windows: Updates after which the batches come again.
        stop_factor: $s > 1$.
        smoothing: Weight of the past in the moving average.
        before_update: Called before each update but the first `windows`.
        on_lowest: Called after the update whose loss set a new smallest average.

    Raises:
        ValueError: If a loss is not finite before the rates grow.

    References:
        Leslie Smith, "Cyclical learning rates for training neural networks",
            arXiv 1506.01186 (2015), section 3.3.
    """
    first = [update(float(rates[0])) for _ in range(windows)]
    if not np.all(np.isfinite(first)):
        raise ValueError(
            "The loss is not finite before the rate has grown: the data, the loss or the weights "
            f"are at fault. Received: losses={first}, at rate {rates[0]:g}"
        )
    start = average = lowest = float(np.mean(first))
    raw, paired, stopped = [], [], False
    # One update more than there are rates, to see the loss after the last one.
    for index, rate in enumerate((*rates, rates[-1])):
        before_update()
        loss = update(float(rate))
        raw.append(loss)
        paired.append(start + loss - first[index % windows])
        if not math.isfinite(loss):
            stopped = True
            break
        average = smoothing * average + (1.0 - smoothing) * paired[-1]
        if average < lowest:
            lowest = average
            on_lowest()
        if average > lowest + (stop_factor - 1.0) * max(abs(lowest), start - lowest):
            stopped = True
            break
    # The first of them is the loss before the first rate.
    return RangeTest(
        np.asarray(rates[: len(raw) - 1], "float64"),
        np.asarray(paired[1:], "float64"),
        np.asarray(raw[1:], "float64"),
        np.asarray(first, "float64"),
        stopped,
    )
