r"""Smoothness constants estimated while training, from the loss and the gradient norm alone.

Pure functions of scalars, or of arrays of them: NumPy arguments are computed in NumPy, tensors
with `keras.ops`. $\Delta = \max(f - f^*, 0)$ is the gap, $G$ the norm of the gradient,
$\hat\ell(x) = \hat H_0 + \hat H_1 x$ the estimated bound on the curvature where $x = \Delta^\rho$.

Two scalars say something about the constants:

* **The self-bound.** $G^2 \le 2 \int_0^\Delta \ell$, so the loss and the gradient of *one* batch
  bound the constants from below: $H_0 + H_1 \Delta^\rho / (\rho + 1) \ge G^2 / (2 \Delta)$. See
  `self_bound`.
* **The descent along the last step.** After $w^+ = w - \eta g$ on one and the same function, the
  mean curvature along the step is $L = 2 (f^+ - f + \eta G^2) / (\eta G)^2 \le \ell(\Delta)$ if
  the loss is nowhere on the way above $f$. See `observed_curvature`.

`advance` is the rule that `OnlineSmoothnessLearningRate` and `AdaptiveGD(H0="auto")` run.

References:
    Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
        A Theoretical Perspective", arXiv 2510.03164 (2025): the condition. The
        self-bound and the descent lemma are derived.
    Jonathan Barzilai, Jonathan Borwein, "Two-Point Step Size Gradient Methods", IMA J. Numer. Anal.
        8 (1988): on a quadratic $1/L$ is their step.
    Nicolas Loizou, Sharan Vaswani, Issam Laradji, Simon Lacoste-Julien, "Stochastic Polyak
        Step-size for SGD", arXiv 2002.10542 (2020): $\Delta / G^2$, the longest step of the rule
        for mini-batches.
    Yura Malitsky, Konstantin Mishchenko, "Adaptive Gradient Descent without
        Descent", arXiv 1910.09529 (2019): the alternative, which compares gradients and keeps a
        copy of the last one.
"""

import keras
import numpy as np

from keras_h0h1._arrays import namespace
from keras_h0h1._types import Numeric
from keras_h0h1.step_sizes import gap

# How far one step may lower the estimate at its gap. The rate may at most double per step; slower
# forgetting costs steps on every problem measured, 1.5 times as many at 0.8 and 3 times at 0.9.
FORGETTING = 0.5
# By how much a step that was taken back raises the estimate: quadratic interpolation, kept within
# the classical limits of a backtracking line search.
LEAST_RAISE, LARGEST_RAISE = 2.0, 10.0

STATE = (
    "H0",
    "H1",
    "previous_loss",
    "previous_norm",
    "previous_rate",
    "taken_back",
    "noisy",
    "rate",
)


def self_bound(loss: Numeric, gradient_norm: Numeric, f_star: Numeric = 0.0) -> Numeric:
    r"""$G^2 / (2 \Delta)$, at most $H_0 + H_1 \Delta^\rho / (\rho + 1)$; 0 where the gap is 0.

    Example: equality for $\cosh w - 1$, with constants (1, 1), at the loss 2.

    >>> round(float(self_bound(2.0, 8.0**0.5)), 6), 1.0 + 1.0 * 2.0 / 2.0
    (2.0, 2.0)
    """
    xp = namespace(loss, gradient_norm)
    delta = gap(loss, f_star)
    positive = delta > 0
    safe = xp.where(positive, delta, xp.ones_like(delta))
    return xp.where(positive, gradient_norm * (0.5 * gradient_norm / safe), 0.0 * delta)


def observed_curvature(
    loss: Numeric, previous_loss: Numeric, distance: Numeric, gradient_norm: Numeric
) -> Numeric:
    r"""$L = 2 (f^+ - f + \eta G^2) / (\eta G)^2$, the mean curvature along the last step.

    Args:
        loss: $f^+$, the loss after the step.
        previous_loss: $f$, the loss before it, of the same function.
        distance: $\eta G > 0$, the length of the step.
        gradient_norm: $G$, the norm before the step.

    Example: $f(w) = 3 w^2 / 2$, from 1 with the step 0.1: the curvature is 3.

    >>> round(float(observed_curvature(1.5 * 0.7**2, 1.5, 0.3, 3.0)), 6)
    3.0
    """
    return 2.0 * ((loss - previous_loss) / distance + gradient_norm) / distance


def fit(
    H0: Numeric,
    H1: Numeric,
    growth: Numeric,
    curvature: Numeric,
    free: tuple[bool, bool] = (True, True),
) -> tuple[Numeric, Numeric]:
    r"""The constants nearest to `H0`, `H1` with $H_0 + H_1 x = L$; never negative.

    Nearest in relative terms: with $p_0 = H_0 / \hat\ell$, $p_1 = 1 - p_0$ and the relative error
    $e = L / \hat\ell - 1$, each is multiplied by $1 + e p_i / (p_0^2 + p_1^2)$. So an observation
    far above the minimum moves $H_1$, one near it $H_0$.

    Args:
        H0: $\hat H_0 \ge 0$.
        H1: $\hat H_1 \ge 0$; $\hat H_0 + \hat H_1 x$ must be positive if both are free.
        growth: $x = \Delta^\rho$, or what multiplies $H_1$ in the observation.
        curvature: $L \ge \hat\ell / 2$, the observation.
        free: Which of the two is estimated; the other one is left as it is. One that is estimated
            alone is at most halved: the given one may be more than the observation.

    Returns:
        The new `(H0, H1)`.

    Example: the error of 2 is split as the present shares are, 1 to 1 and 1 to 3.

    >>> [round(float(h), 6) for h in fit(1.0, 1.0, growth=1.0, curvature=4.0)]
    [2.0, 2.0]
    >>> [round(float(h), 6) for h in fit(1.0, 1.0, growth=3.0, curvature=6.0)]
    [1.2, 1.6]
    """
    xp = namespace(H0, H1, growth, curvature)
    if free == (True, True):
        bound = H0 + H1 * growth
        share = H0 / bound
        error = (curvature / bound - 1.0) / (share * share + (1.0 - share) * (1.0 - share))
        return H0 * (1.0 + error * share), H1 * (1.0 + error * (1.0 - share))
    if free[0]:
        return xp.maximum(curvature - H1 * growth, FORGETTING * H0), H1
    known = growth > 0
    safe = xp.where(known, growth, xp.ones_like(growth))
    return H0, xp.where(known, xp.maximum((curvature - H0) / safe, FORGETTING * H1), H1)


def initial_state(
    H0: Numeric = "auto", H1: Numeric = "auto", safeguard: bool = True
) -> dict[str, float]:
    """The scalars that `advance` remembers, by name. A constant that is `"auto"` starts at 0.

    Example:

    >>> initial_state(H0=2.0)["H0"], initial_state(safeguard=False)["noisy"]
    (2.0, 1.0)
    """
    state = dict.fromkeys(STATE, 0.0)
    given = {name: float(value) for name, value in (("H0", H0), ("H1", H1)) if value != "auto"}
    return {**state, "noisy": 0.0 if safeguard else 1.0, **given}


def advance(
    state: dict[str, Numeric],
    loss: Numeric,
    gradient_norm: Numeric,
    f_star: Numeric = 0.0,
    rho: Numeric = 1.0,
    free: tuple[bool, bool] = (True, True),
    safeguard: bool = True,
) -> dict[str, Numeric]:
    r"""One step of the rule: judges the last step, corrects the constants, says the next rate.

    With the safeguard, on losses of one and the same function:

    1. If the last step raised the loss, or the loss or the gradient is not finite, this step takes
       it back: `taken_back` is 1, the rate 0, and the optimizer restores the weights that the last
       step started from. The estimate at the gap of those weights grows to $L$, at least twofold
       and at most tenfold. **So the loss never rises twice in a row, on any function.**
    2. Otherwise the estimate at the last gap becomes $\max(L, \hat\ell / 2)$, and is raised where
       the self-bound at the present weights asks for more.
    3. The rate is $1 / \hat\ell(\Delta^\rho)$.

    A loss that differs at weights that were restored is not the loss of one function: the losses
    belong to different batches. From then on (`noisy` is 1), and from the start without the
    safeguard, only the self-bound counts, which compares nothing between batches: the estimate at
    $x = \Delta^\rho / (\rho + 1)$ becomes $\max(G^2 / (2 \Delta), \hat\ell / 2)$ and the rate is
    $1 / (2 \hat\ell(x)) \le \Delta / G^2$. On convex functions that share a minimiser, with
    `f_star` the minimum of each, no such step increases the distance to that minimiser.

    Args:
        state: The scalars of `initial_state`; floats, arrays or tensors.
        loss: $f$ at the present weights.
        gradient_norm: $G$ there.
        f_star: $f^*$.
        rho: The exponent of the gap.
        free: Which of $H_0$, $H_1$ are estimated.
        safeguard: Whether steps can be taken back.

    Returns:
        The new state, with the same names.

    Example: a parabola of curvature 3. The first rate is 4/3 of Polyak's $\Delta / G^2$, and from
    the second step on the curvature is known.

    >>> import numpy as np
    >>> state, w = initial_state(), np.float64(1.0)
    >>> for _ in range(3):
    ...     state = advance(state, 1.5 * w**2, abs(3.0 * w))
    ...     w = w - state["rate"] * 3.0 * w
    ...     print(round(float(state["rate"]), 4), round(float(1.5 * w**2), 4))
    0.2222 0.1667
    0.3214 0.0002
    0.3333 0.0
    """
    with np.errstate(all="ignore"):
        return _Step(state, loss, gradient_norm, f_star, rho, free, safeguard).result()


class _Step:
    """The quantities that `advance` computes with; not finite ones are replaced, and noted."""

    def __init__(
        self,
        state: dict[str, Numeric],
        loss: Numeric,
        norm: Numeric,
        f_star: Numeric,
        rho: Numeric,
        free: tuple[bool, bool],
        safeguard: bool,
    ) -> None:
        self.xp = xp = namespace(loss, norm, *state.values())
        if xp is np:
            loss, norm = np.asarray(loss, "float64"), np.asarray(norm, "float64")
            state = {name: np.asarray(value, "float64") for name, value in state.items()}
        limits = np.finfo(keras.backend.standardize_dtype(loss.dtype))
        self.eps, self.tiny = float(limits.eps), 2.0 * float(np.sqrt(limits.tiny))
        self.huge = float(limits.max) / 8.0
        self.state, self.f_star, self.rho = state, f_star, rho
        self.free, self.safeguard = free, safeguard
        self.finite = xp.logical_and(xp.isfinite(loss), xp.isfinite(norm))
        self.loss = xp.where(self.finite, loss, state["previous_loss"])
        self.norm = xp.where(self.finite, norm, xp.ones_like(norm))
        self.size = xp.maximum(xp.abs(self.loss), xp.abs(state["previous_loss"]))
        # What two evaluations of one loss may differ by, by rounding.
        self.rounding = 4.0 * self.eps * self.size

    def growth(self, loss: Numeric) -> Numeric:
        delta = gap(loss, self.f_star)
        if self.rho == 1.0:
            return delta
        return self.xp.minimum(delta**self.rho, self.xp.ones_like(delta) * self.huge)

    def fit(
        self,
        constants: tuple[Numeric, Numeric],
        where: Numeric,
        growth: Numeric,
        curvature: Numeric,
    ) -> tuple[Numeric, Numeric]:
        """`constants`, made to agree with an observation where `where` is true."""
        new = fit(*constants, growth, curvature, self.free)
        return tuple(self.xp.where(where, n, old) for n, old in zip(new, constants, strict=True))

    def result(self) -> dict[str, Numeric]:
        xp, state = self.xp, self.state
        moved = state["previous_rate"] * state["previous_norm"]
        restored, noisy = state["taken_back"] > 0, state["noisy"] > 0
        # A step can be judged if the last call took one.
        judged = xp.logical_and(moved > 0, ~restored)
        rose = judged & ~noisy & self.finite & (self.loss > state["previous_loss"] + self.rounding)
        back = rose | (~self.finite & (judged | restored))
        if not self.safeguard:
            back = xp.zeros_like(back)
        # Weights that were restored have the loss they had, unless the batch is another one.
        differs = xp.abs(self.loss - state["previous_loss"]) > self.eps**0.5 * self.size
        becomes_noisy = restored & self.finite & differs & ~noisy
        noisy = noisy | becomes_noisy
        constants = (state["H0"], state["H1"])
        constants = self._after_step(constants, moved, judged, back, noisy)
        constants = self._first(
            constants, self.finite & (becomes_noisy | (sum(constants) <= 0)), noisy
        )
        constants = self._same_batch(constants, self.finite & ~back, noisy)
        if self.free == (True, True):
            # A relative correction could not bring a bound of 0 back.
            floor = xp.where(sum(constants) > 0, xp.ones_like(moved) * self.tiny, 0.0 * moved)
            constants = xp.maximum(constants[0], floor), constants[1]
        stays = back | ~self.finite
        rate = xp.where(stays, xp.zeros_like(moved), self._rate(constants, noisy))
        new = {"H0": constants[0], "H1": constants[1], "rate": rate}
        for name, value in (("loss", self.loss), ("norm", self.norm), ("rate", rate)):
            new[f"previous_{name}"] = xp.where(stays, state[f"previous_{name}"], value)
        one, zero = xp.ones_like(moved), xp.zeros_like(moved)
        new |= {"taken_back": xp.where(back, one, zero), "noisy": xp.where(noisy, one, zero)}
        return new

    def _after_step(self, constants, moved, judged, back, noisy):
        """What the loss before and after the last step says about the curvature between them."""
        xp, state = self.xp, self.state
        growth = self.growth(state["previous_loss"])
        bound = xp.maximum(constants[0] + constants[1] * growth, xp.ones_like(moved) * self.tiny)
        safe = xp.where(judged, moved, xp.ones_like(moved))
        seen = observed_curvature(self.loss, state["previous_loss"], safe, state["previous_norm"])
        seen = xp.where(self.finite & xp.isfinite(seen), seen, LARGEST_RAISE * bound)
        raised = xp.minimum(xp.maximum(seen, LEAST_RAISE * bound), LARGEST_RAISE * bound)
        constants = self.fit(constants, judged & back, growth, raised)
        # The difference of two losses says nothing where it drowns in rounding.
        clear = moved * state["previous_norm"] > 8.0 * self.rounding
        kept = judged & self.finite & ~back & ~noisy & clear
        return self.fit(constants, kept, growth, xp.maximum(seen, FORGETTING * bound))

    def _first(self, constants, where, noisy):
        """Equal shares of the self-bound, for both constants, where there is no estimate yet."""
        if self.free != (True, True):
            return constants
        xp = self.xp
        delta = gap(self.loss, self.f_star)
        # Below f_star there is no self-bound: a short step, from which the rate doubles.
        small = 1e-3 * xp.maximum(xp.abs(self.loss), xp.ones_like(delta))
        above = xp.where(noisy | (delta > 8.0 * self.rounding), delta, small)
        curvature = self_bound(above, self.norm)
        growth = self.growth(above + self.f_star) / (self.rho + 1.0)
        where = where & (growth > 0)
        H1 = 0.5 * curvature / xp.where(growth > 0, growth, xp.ones_like(growth))
        return xp.where(where, 0.5 * curvature, constants[0]), xp.where(where, H1, constants[1])

    def _same_batch(self, constants, where, noisy):
        """The self-bound raises the estimate; only where nothing else is known it lowers it."""
        xp = self.xp
        growth = self.growth(self.loss) / (self.rho + 1.0)
        bound = constants[0] + constants[1] * growth
        least = self_bound(self.loss, self.norm, self.f_star)
        floor = xp.where(noisy, FORGETTING * bound, bound)
        clear = gap(self.loss, self.f_star) > 8.0 * self.rounding
        if self.free == (True, True):
            where = where & (bound > 0)
        return self.fit(constants, where & clear, growth, xp.maximum(least, floor))

    def _rate(self, constants, noisy):
        xp, growth = self.xp, self.growth(self.loss)
        sharp = self._reciprocal(constants[0] + constants[1] * growth)
        half = 0.5 * self._reciprocal(constants[0] + constants[1] * growth / (self.rho + 1.0))
        # A batch at its infimum, or below the f_star that was given, has nothing to go down to.
        downhill = gap(self.loss, self.f_star) > 0
        return xp.where(noisy, xp.where(downhill, half, 0.0 * half), sharp)

    def _reciprocal(self, bound):
        """1 / bound, within the usable rates; 0 where nothing bounds the rate: at a minimiser."""
        xp = self.xp
        rate = 1.0 / xp.maximum(bound, xp.ones_like(bound) * self.tiny)
        return xp.where(bound > 0, rate, xp.zeros_like(rate))
