"""Where a range test's loss falls, turns and blows up."""

import math
from typing import NamedTuple

import numpy as np

from keras_h0h1._types import ArrayLike

# The loss counts as falling fast while its slope is at least this share of the steepest.
FAST = 0.25
# The loss has turned once it has given back this share of its fall.
GIVEN_BACK = 0.25
# The smallest change that counts, in standard deviations of a smoothed loss, and as a share. The
# extremes of seventy such losses lie about 2.4 deviations to either side.
_DEVIATIONS, _RELATIVE = 5.0, 1e-3
_KERNEL = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
# A loss in the middle of its window deviates from the average by less than from the truth.
_SHARE_OF_DEVIATION = math.sqrt(1.0 - 2.0 * 3.0 / 9.0 + 19.0 / 81.0)


class Landmarks(NamedTuple):
    """Rates at which something happens to the loss; `None` where it does not.

    Attributes:
        steepest: Where the smoothed loss falls most steeply against the logarithm of the rate.
        fast: The largest up to which, from there on, it falls at least a quarter as steeply.
        lowest: Where it is lowest, before it turns.
        lowest_loss: The smoothed loss there.
        turn: Where it has given back a quarter of its fall.
        blow_up: Where it is back at its initial value, or not finite.
    """

    steepest: float | None
    fast: float | None
    lowest: float | None
    lowest_loss: float
    turn: float | None
    blow_up: float | None


def smooth(losses: ArrayLike) -> np.ndarray:
    """A centred moving average over five points with weights 1, 2, 3, 2, 1; fewer at the ends."""
    losses = np.asarray(losses, "float64")
    return _weighted(losses, _KERNEL) / _weighted(np.ones_like(losses), _KERNEL)


def _weighted(values, kernel) -> np.ndarray:
    return np.convolve(values, kernel)[2:-2]


def _cut(rates, losses, initial_loss):
    """Rates and losses up to the first loss that is not finite, and the rate of that one.

    One huge loss would be spread over its neighbours by the average: none is larger than needed.
    """
    rates, losses = np.asarray(rates, "float64"), np.asarray(losses, "float64")
    if rates.ndim != 1 or rates.shape != losses.shape or len(rates) < 10:
        raise ValueError(
            "`rates` and `losses` must be sequences of one length, 10 at least. "
            f"Received: shapes {rates.shape} and {losses.shape}"
        )
    if not np.all(np.isfinite(rates)) or rates[0] <= 0 or np.any(np.diff(rates) <= 0):
        raise ValueError(f"`rates` must be positive and growing. Received: rates={rates}")
    finite = np.isfinite(losses)
    end = len(losses) if finite.all() else int(np.argmin(finite))
    if end < 10:
        raise ValueError(
            f"The loss is not finite at a rate of {rates[end]:.3g}, after fewer than 10 updates: "
            f"begin with a lower rate. Received: losses={losses}"
        )
    infinite = None if finite.all() else float(rates[end])
    rates, losses = rates[:end], losses[:end]
    ceiling = initial_loss + 2.0 * max(initial_loss - losses.min(), 0.0)
    ceiling = max(ceiling, initial_loss + 0.5 * abs(initial_loss))
    return rates, np.minimum(losses, ceiling), infinite


def _deviation(losses, smoothed) -> np.ndarray:
    """Standard deviation of each smoothed loss, from the scatter of the losses about them."""
    # The median ignores single batches.
    scatter = 1.4826 * float(np.median(np.abs(losses - smoothed))) / _SHARE_OF_DEVIATION
    ones = np.ones_like(losses)
    return scatter * np.sqrt(_weighted(ones, _KERNEL**2)) / _weighted(ones, _KERNEL)


def _turn(smoothed, fallen, noise) -> int | None:
    """The first point at which the loss has given back a share of its fall for good."""
    lowest = np.minimum.accumulate(smoothed)
    threshold = np.maximum(GIVEN_BACK * np.maximum(fallen, 0.0), noise)
    back = smoothed > lowest + threshold
    # A single point may be a batch.
    for index in np.flatnonzero(back):
        if back[index : index + 3].all():
            return int(index)
    return None


def landmarks(rates: ArrayLike, losses: ArrayLike, initial_loss: float) -> Landmarks:
    """Reads a range test's curve.

    Args:
        rates: Growing, shape `(n,)`, ten at least.
        losses: After the update at each rate; not finite where the loss blew up.
        initial_loss: Before the test.

    Raises:
        ValueError: If the sequences are unusable.
    """
    rates, losses, infinite = _cut(rates, losses, initial_loss)
    smoothed = smooth(losses)
    noise = _DEVIATIONS * _deviation(losses, smoothed)
    turn = _turn(smoothed, initial_loss - np.minimum.accumulate(smoothed), noise)
    lowest = int(np.argmin(smoothed[: len(smoothed) if turn is None else turn]))
    above = smoothed > initial_loss + noise
    above[: lowest + 1] = False
    steepest = fast = None
    if initial_loss - smoothed[lowest] > max(noise[lowest], _RELATIVE * abs(initial_loss)):
        slopes = np.gradient(smoothed, np.log(rates))[: lowest + 1]
        steepest = int(np.argmin(slopes))
        # Up to the first slower point: further on, at the bottom, noise has slopes too.
        slower = slopes[steepest:] > max(FAST * slopes[steepest], slopes[steepest])
        fast = steepest + int(np.argmax(slower)) - 1 if slower.any() else lowest

    def at(index):
        return None if index is None else float(rates[index])

    return Landmarks(
        steepest=at(steepest),
        fast=at(fast),
        lowest=None if fast is None else at(lowest),
        lowest_loss=float(smoothed[lowest]),
        turn=at(turn),
        blow_up=at(int(np.argmax(above))) if above.any() else infinite,
    )
