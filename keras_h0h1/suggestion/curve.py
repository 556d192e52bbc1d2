"""Where a range test's loss falls, turns and blows up."""

import math
from typing import NamedTuple

import numpy as np

# The loss counts as falling fast while its slope is at least this share of the steepest.
FAST = 0.25
# The loss has turned once it has given back this share of its fall.
GIVEN_BACK = 0.25
# The smallest change that counts, in standard deviations of a smoothed loss, and as a share.
_DEVIATIONS, _RELATIVE = 3.0, 1e-3


class Landmarks(NamedTuple):
    """Rates at which something happens to the loss; `None` where it does not.

    Attributes:
        steepest: Where the smoothed loss falls most steeply against the logarithm of the rate.
        fast: The largest at which it falls a quarter as steeply, before it turns.
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


def smooth(losses) -> np.ndarray:
    """A centred moving average over five points with weights 1, 2, 3, 2, 1; fewer at the ends."""
    losses = np.asarray(losses, "float64")
    kernel = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
    total = np.convolve(losses, kernel)[2:-2]
    return total / np.convolve(np.ones_like(losses), kernel)[2:-2]


def _cut(rates, losses, initial_loss):
    """Rates and losses up to the first loss that is not finite, and the rate of that one.

    One huge loss would be spread over its neighbours by the average: none is larger than needed.
    """
    rates, losses = np.asarray(rates, "float64"), np.asarray(losses, "float64")
    if rates.ndim != 1 or rates.shape != losses.shape or len(rates) < 5:
        raise ValueError(
            "`rates` and `losses` must be sequences of one length, 5 at least. "
            f"Received: shapes {rates.shape} and {losses.shape}"
        )
    if not np.all(np.isfinite(rates)) or rates[0] <= 0 or np.any(np.diff(rates) <= 0):
        raise ValueError(f"`rates` must be positive and growing. Received: rates={rates}")
    finite = np.isfinite(losses)
    end = len(losses) if finite.all() else int(np.argmin(finite))
    if end < 5:
        raise ValueError(
            f"The loss is not finite at a rate of {rates[end]:.3g}, after fewer than 5 updates: "
            f"begin with a lower rate. Received: losses={losses}"
        )
    infinite = None if finite.all() else float(rates[end])
    rates, losses = rates[:end], losses[:end]
    ceiling = initial_loss + 2.0 * max(initial_loss - losses.min(), 0.0)
    ceiling = max(ceiling, initial_loss + 0.5 * abs(initial_loss))
    return rates, np.minimum(losses, ceiling), infinite


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


def landmarks(rates, losses, initial_loss: float) -> Landmarks:
    """Reads a range test's curve.

    Args:
        rates: Growing, shape `(n,)`, five at least.
        losses: After the update at each rate; not finite where the loss blew up.
        initial_loss: Before the test.

    Raises:
        ValueError: If the sequences are unusable.
    """
    rates, losses, infinite = _cut(rates, losses, initial_loss)
    smoothed = smooth(losses)
    # The median ignores single batches; the average has 19/81 of one point's variance.
    scatter = 1.4826 * float(np.median(np.abs(losses - smoothed)))
    noise = _DEVIATIONS * scatter * math.sqrt(19.0 / 81.0)
    turn = _turn(smoothed, initial_loss - np.minimum.accumulate(smoothed), noise)
    lowest = int(np.argmin(smoothed[: len(smoothed) if turn is None else turn]))
    above = smoothed > initial_loss + noise
    above[: lowest + 1] = False
    steepest = fast = None
    if initial_loss - smoothed[lowest] > max(noise, _RELATIVE * abs(initial_loss)):
        slopes = np.gradient(smoothed, np.log(rates))[: lowest + 1]
        steepest = int(np.argmin(slopes))
        fast = int(np.flatnonzero(slopes <= max(FAST * slopes[steepest], slopes[steepest])).max())

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
