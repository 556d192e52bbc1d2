"""From a range test to a rate: the rule of choice, a pure function."""

import math
from typing import NamedTuple

import numpy as np

from keras_h0h1._validation import check_number

# The loss counts as falling fast while its slope is at least this share of the steepest.
FAST = 0.25
# The loss has turned once it has given back this share of its fall.
GIVEN_BACK = 0.25
# Of the rate at which the loss was back where it began; fastai's `minimum` takes a tenth of the
# rate at the minimum, which comes earlier.
BLOW_UP_SHARE = 0.25
# Of the largest stable rate at the curvature that was measured: the step of fastest decrease.
STABLE_SHARE = 0.5
# `C` as a share of the initial gap; for a language model of 50,280 words near the papers' 5.
C_SHARE = 0.5
# Exponents that have been tried.
LOWEST_RHO, HIGHEST_RHO = 1.0, 4.0
# The smallest fall that counts, in standard deviations of a smoothed loss and as a share.
_DEVIATIONS, _RELATIVE = 3.0, 1e-3


class Recommendation(NamedTuple):
    """What `recommend` returns.

    Attributes:
        base: The peak rate.
        reasons: Sentences, the decisive one first.
        rho: The exponent.
        marks: Rates by name that bear on the choice: `"steepest"`, `"fast"`, `"lowest"`,
            `"blow_up"`, `"stable_at_start"`, `"stable_later"`; those that exist.
    """

    base: float
    reasons: tuple[str, ...]
    rho: float
    marks: dict[str, float]


def smooth(losses) -> np.ndarray:
    """A centred moving average over five points with weights 1, 2, 3, 2, 1; fewer at the ends."""
    losses = np.asarray(losses, "float64")
    kernel = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
    total = np.convolve(losses, kernel)[2:-2]
    return total / np.convolve(np.ones_like(losses), kernel)[2:-2]


def _cut(rates, losses, initial_loss):
    """The losses up to the first that is not finite, the blown-up ones no larger than needed."""
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
    rates, losses = rates[:end], losses[:end]
    # One huge loss would be spread over its neighbours by the average.
    ceiling = initial_loss + 2.0 * max(initial_loss - losses.min(), 0.0)
    ceiling = max(ceiling, initial_loss + 0.5 * abs(initial_loss))
    return rates, np.minimum(losses, ceiling), end


def _turn(smoothed, fallen, noise) -> int | None:
    """The first point at which the loss has given back a share of its fall for good."""
    lowest = np.minimum.accumulate(smoothed)
    threshold = np.maximum(GIVEN_BACK * np.maximum(fallen, 0.0), _DEVIATIONS * noise)
    back = smoothed > lowest + threshold
    # A single point may be a batch.
    for index in np.flatnonzero(back):
        if back[index : index + 3].all():
            return int(index)
    return None


def recommend(
    rates,
    losses,
    *,
    initial_loss: float,
    stable_at_start: float | None = None,
    stable_later: float | None = None,
) -> Recommendation:
    r"""The base rate and the exponent that a range test suggests.

    The loss is smoothed over five points. The base rate is the smallest of

    1. the largest rate at which the loss still falls fast: its slope against $\log \eta$ is at
       least a quarter of the steepest, before it turns;
    2. a quarter of the rate at which the loss was back at its initial value;
    3. half the largest stable rate at the curvature measured where the loss was lowest.

    A test that begins with fresh moments, or with those of the initial weights, overestimates
    the rate; hence the fractions. The stable rate at the *start* does not bound the base: there the
    loss-driven factor shortens the step. With $C$ half the initial gap the first rate is
    $\eta\, 2^{-\rho}$, so the exponent is the smallest that makes it stable,
    $\rho = \log_2(\eta / \eta_\text{start})$, in [1, 4].

    Args:
        rates: Growing, shape `(n,)`.
        losses: After the update at each rate; not finite where the loss blew up.
        initial_loss: Before the test.
        stable_at_start: Largest stable rate at the initial weights, or `None` if unknown.
        stable_later: Where the loss was lowest, or `None`.

    Raises:
        TypeError: If a number is none.
        ValueError: If the sequences are unusable, or the loss neither fell nor rose.

    References:
        L. N. Smith, "Cyclical learning rates for training neural networks",
            arXiv 1506.01186 (2015).
        J. Cohen and others, "Adaptive gradient methods at the edge of stability",
            arXiv 2207.14484 (2022).

    Example: a loss that falls between rates of 1e-3 and 1e-1, and is back at a rate of 1.

    >>> rates = np.geomspace(1e-5, 10.0, 61)
    >>> falls = 1.0 / (1.0 + (rates / 1e-2) ** 2)
    >>> found = recommend(rates, 1.0 + falls + rates**2, initial_loss=2.0)
    >>> round(found.base, 3), found.rho
    (0.02, 1.0)
    """
    initial_loss = check_number("initial_loss", initial_loss)
    rates, losses, end = _cut(rates, losses, initial_loss)
    blew_up = end < len(np.atleast_1d(losses)) or losses[-1] > initial_loss
    smoothed = smooth(losses)
    # Half of what a point's neighbours do not explain: robust against single batches.
    noise = 1.4826 * float(np.median(np.abs(losses - smoothed))) / math.sqrt(3.0)
    turn = _turn(smoothed, initial_loss - np.minimum.accumulate(smoothed), noise)
    before = smoothed[: len(smoothed) if turn is None else turn]
    lowest = int(np.argmin(before))
    fall = initial_loss - float(before[lowest])
    fell = fall > max(_DEVIATIONS * noise, _RELATIVE * abs(initial_loss))
    above = smoothed > initial_loss + _DEVIATIONS * noise
    above[: lowest + 1] = False
    blow_up = int(np.argmax(above)) if above.any() else None
    del blew_up
    if not fell and blow_up is None and turn is None:
        raise ValueError(
            "The loss neither fell nor rose: the range of rates is too small or too low, or the "
            f"model does not train. Received: rates from {rates[0]:.3g} to {rates[-1]:.3g}, "
            f"loss {initial_loss:.4g} before, {smoothed.min():.4g} at its lowest"
        )
    return _choose(
        rates, smoothed, initial_loss, fell, lowest, turn, blow_up, stable_at_start, stable_later
    )


def _choose(
    rates, smoothed, initial_loss, fell, lowest, turn, blow_up, stable_at_start, stable_later
) -> Recommendation:
    marks, candidates, remarks = {}, [], []
    if fell:
        slopes = np.gradient(smoothed, np.log(rates))[: lowest + 1]
        steepest = int(np.argmin(slopes))
        fast = int(np.flatnonzero(slopes <= FAST * slopes[steepest]).max())
        marks |= {
            "steepest": rates[steepest], "fast": rates[fast], "lowest": rates[lowest],
        }  # fmt: skip
        candidates.append(
            (
                rates[fast],
                f"up to a rate of {rates[fast]:.2g} the loss falls fast, from {initial_loss:.4g} "
                f"to {smoothed[lowest]:.4g}",
            )
        )
    rose = blow_up if blow_up is not None else None if fell else turn
    if rose is not None:
        marks["blow_up"] = rates[rose]
        candidates.append(
            (
                BLOW_UP_SHARE * rates[rose],
                f"at {rates[rose]:.2g} the loss is back at its initial value; "
                f"a quarter of that is {BLOW_UP_SHARE * rates[rose]:.2g}",
            )
        )
    elif turn is None:
        remarks.append(
            f"the loss did not rise up to the largest rate tested, {rates[-1]:.2g}: a higher one "
            "may do as well"
        )
    if not fell:
        remarks.append("the loss did not fall at any rate: take the suggestion as an upper bound")
    for name, rate, where in (
        ("stable_later", stable_later, "where the loss was lowest"),
        ("stable_at_start", stable_at_start, "at the initial weights"),
    ):
        if rate is None or not math.isfinite(rate):
            continue
        marks[name] = rate
        if name == "stable_later":
            candidates.append(
                (
                    STABLE_SHARE * rate,
                    f"{where} the curvature allows rates below {rate:.2g}; half of that is "
                    f"{STABLE_SHARE * rate:.2g}",
                )
            )
    candidates.sort(key=lambda candidate: candidate[0])
    base = float(candidates[0][0])
    rho, why = exponent(base, marks.get("stable_at_start"))
    reasons = [text for _, text in candidates] + [why] * bool(why) + remarks
    return Recommendation(
        base, tuple(reasons), rho, {name: float(rate) for name, rate in marks.items()}
    )


def exponent(base: float, stable_at_start: float | None) -> tuple[float, str]:
    """The smallest exponent in range with a stable first rate, rounded to a tenth; and why."""
    if stable_at_start is None:
        return LOWEST_RHO, ""
    needed = math.log(max(base / stable_at_start, 1e-30)) / math.log(1.0 / C_SHARE)
    rho = float(np.clip(math.ceil(10.0 * needed) / 10.0, LOWEST_RHO, HIGHEST_RHO))
    first = base * C_SHARE**rho
    text = (
        f"at the initial weights the curvature allows rates below {stable_at_start:.2g}: with "
        f"rho = {rho:g} the first rate is {first:.2g}"
    )
    if first > stable_at_start:
        text += ", still more than that; the loss may rise at first"
    return rho, text
