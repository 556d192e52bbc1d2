"""From a range test to a rate: the rule of choice, a pure function."""

import math
from typing import NamedTuple

import numpy as np

from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_number
from keras_h0h1.suggestion.curve import Landmarks, landmarks, smooth


class Shares(NamedTuple):
    """What a base rate is at most, as multiples of the rates at which something happens.

    Chosen on development workloads: the tables are in `benchmarks/results/SUGGEST.md`.

    Attributes:
        fast: Of the largest rate at which the loss still falls fast.
        blow_up: Of the rate at which it is back where it began.
        stable: Of the largest stable rate where the loss was lowest; `None`: no bound.
    """

    fast: float
    blow_up: float
    stable: float | None


# A test of a few dozen updates shows the momentum in part, and the noise of batches not at all.
SGD_SHARES = Shares(1.0, 0.25, 0.25)
# Where each step is divided by the gradient's own size the curvature follows the rate: what it
# allows at the rates of the test is no bound on the peak. And the steps are small: they need more
# updates for a fall than the test makes at one rate.
NORMALISED_SHARES = Shares(3.0, 0.1, None)
# `C` as a share of the initial gap; for a language model of 50,280 words near the papers' 5.
C_SHARE = 0.5
# Exponents that have been tried.
LOWEST_RHO, HIGHEST_RHO = 1.0, 3.0
# The least fall of the gap, as a logarithm, from which an exponent can be read.
_LEAST_FALL = 0.05


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


def recommend(
    rates: ArrayLike,
    losses: ArrayLike,
    *,
    initial_loss: float,
    f_star: float = 0.0,
    stable_at_start: float | None = None,
    stable_later: float | None = None,
    normalised: bool = False,
) -> Recommendation:
    r"""The base rate and the exponent that a range test suggests.

    The loss is smoothed over five points. The base rate is the smallest of

    1. the largest rate at which the loss still falls fast: its slope against $\log \eta$ is at
       least a quarter of the steepest, before it turns; for an optimizer that normalises the
       gradient 3 times that rate;
    2. a quarter of the rate at which the loss was back at its initial value; a tenth there;
    3. a quarter of the largest stable rate at the curvature measured where the loss was lowest;
       for an optimizer that normalises, whose curvature adapts to the rate, no bound.

    A test that begins with fresh moments, or with those of the initial weights, overestimates
    the rate; hence the fractions. The stable rate at the *start* does not bound the base: there the
    loss-driven factor shortens the step.

    The exponent is that of $(\rho, K_0, K_\rho)$-smoothness between the two measurements, with the
    stable rate in the curvature's place and the gap $\Delta = f - f^*$,

    $$\rho = \frac{\log(\eta_\text{later} / \eta_\text{start})}
    {\log(\Delta_\text{start} / \Delta_\text{later})},$$

    or that with which the first rate $\eta\, 2^{-\rho}$ ($C$ is half the initial gap) is stable, if
    that is larger; in [1, 3].

    Args:
        rates: Growing, shape `(n,)`.
        losses: After the update at each rate; not finite where the loss blew up.
        initial_loss: Before the test.
        f_star: A lower bound on the loss.
        stable_at_start: Largest stable rate at the initial weights, or `None` if unknown.
        stable_later: Where the loss was lowest, or `None`.
        normalised: Whether the optimizer divides by the gradient's own size, as Adam and its kin,
            Lion and Muon do, and SGD does not.

    Raises:
        TypeError: If a number is none.
        ValueError: If the sequences are unusable, or the loss neither fell nor rose.

    References:
        Leslie Smith, "Cyclical learning rates for training neural networks",
            arXiv 1506.01186 (2015).
        Jeremy Cohen and others, "Adaptive gradient methods at the edge of stability",
            arXiv 2207.14484 (2022).

    Example: a loss that falls between rates of 1e-3 and 1e-1, and is back at a rate of 1.

    >>> rates = np.geomspace(1e-5, 10.0, 61)
    >>> falls = 1.0 / (1.0 + (rates / 1e-2) ** 2)
    >>> found = recommend(rates, 1.0 + falls + rates**2, initial_loss=2.0)
    >>> round(found.base, 3), found.rho
    (0.04, 1.0)
    """
    initial_loss = check_number("initial_loss", initial_loss)
    for name, rate in (("stable_at_start", stable_at_start), ("stable_later", stable_later)):
        if rate is not None and rate != math.inf:
            check_number(name, rate, low=0.0, strict=True)
    found = landmarks(rates, losses, initial_loss)
    if found.fast is None and found.blow_up is None and found.turn is None:
        raise ValueError(
            "The loss neither fell nor rose: the range of rates is too small or too low, or the "
            f"model does not train. Received: rates from {rates[0]:.3g} to {rates[-1]:.3g}, "
            f"loss {initial_loss:.4g} before, {found.lowest_loss:.4g} at its lowest"
        )
    candidates = sorted(
        _candidates(
            found, initial_loss, stable_later, NORMALISED_SHARES if normalised else SGD_SHARES
        )
    )
    base, texts = candidates[0][0], [text for _, text in candidates]
    gaps = (initial_loss - f_star, _smallest(losses) - f_star)
    rho, why = exponent(base, stable_at_start, stable_later, *gaps)
    texts += why
    if found.blow_up is None and found.turn is None:
        texts.append(
            f"the loss did not rise up to the largest rate tested, {rates[-1]:.2g}: a higher one "
            "may do as well"
        )
    if found.fast is None:
        texts.append("the loss did not fall at any rate: take the suggestion as an upper bound")
    marks = {
        **found._asdict(), "stable_at_start": stable_at_start, "stable_later": stable_later,
    }  # fmt: skip
    del marks["lowest_loss"]
    kept = {k: float(v) for k, v in marks.items() if v is not None and math.isfinite(v)}
    return Recommendation(float(base), tuple(texts), rho, kept)


def _candidates(found: Landmarks, initial_loss: float, stable_later: float | None, shares: Shares):
    """Pairs of a rate and the reason for it."""
    if found.fast is not None:
        rate = shares.fast * found.fast
        times = "" if shares.fast == 1.0 else f"; {shares.fast:g} times that is {rate:.2g}"
        yield (
            rate,
            f"up to a rate of {found.fast:.2g} the loss falls fast, from {initial_loss:.4g} to "
            f"{found.lowest_loss:.4g}{times}",
        )
    rose, where = found.blow_up, "back at its initial value"
    if rose is None and found.fast is None:
        rose, where = found.turn, "rising"
    if rose is not None:
        rate = shares.blow_up * rose
        yield rate, f"at {rose:.2g} the loss is {where}; {shares.blow_up:g} of that is {rate:.2g}"
    if stable_later is not None and math.isfinite(stable_later):
        measured = f"where the loss was lowest the curvature allows rates below {stable_later:.2g}"
        if shares.stable is None:
            # Last in the order of the reasons.
            yield math.inf, f"{measured}, to which such an optimizer adapts: no bound on the rate"
        else:
            rate = shares.stable * stable_later
            yield rate, f"{measured}; {shares.stable:g} of that is {rate:.2g}"


def _smallest(losses) -> float:
    losses = np.asarray(losses, "float64")
    return float(np.min(smooth(losses[np.isfinite(losses)])))


def exponent(
    base: float,
    stable_at_start: float | None,
    stable_later: float | None,
    first_gap: float,
    later_gap: float,
) -> tuple[float, list[str]]:
    """The exponent of `recommend`, rounded to a tenth, and the reasons for it.

    Args:
        base: The peak rate.
        stable_at_start: Largest stable rate at the initial weights, or `None`.
        stable_later: Where the loss was lowest, or `None`.
        first_gap: The loss above its lower bound at the initial weights.
        later_gap: The same where it was lowest.
    """
    if stable_at_start is None or not math.isfinite(stable_at_start):
        return LOWEST_RHO, []
    needed = math.log(max(base / stable_at_start, 1e-30)) / math.log(1.0 / C_SHARE)
    measured, reasons = -math.inf, []
    falls = later_gap > 0.0 and first_gap > later_gap * math.exp(_LEAST_FALL)
    if falls and stable_later is not None and math.isfinite(stable_later):
        measured = math.log(stable_later / stable_at_start) / math.log(first_gap / later_gap)
        reasons.append(
            f"from the start to the lowest loss the largest stable rate went from "
            f"{stable_at_start:.2g} to {stable_later:.2g}: an exponent of {measured:.1f}, used "
            f"within {LOWEST_RHO:g} to {HIGHEST_RHO:g}"
        )
    rho = float(np.clip(math.ceil(10.0 * max(needed, measured)) / 10.0, LOWEST_RHO, HIGHEST_RHO))
    first = base * C_SHARE**rho
    above = first > stable_at_start
    reasons.append(
        f"with rho = {rho:g} the first rate is {first:.2g}; at the initial weights the curvature "
        f"allows rates below {stable_at_start:.2g}"
        + (": the loss may rise at first" if above else "")
    )
    return rho, reasons
