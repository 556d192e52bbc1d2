"""The practical rule: any base schedule, warmed up by the loss itself."""

import dataclasses
from typing import Self

import keras
from keras import ops

from keras_h0h1 import self_tuning, step_sizes
from keras_h0h1._types import Config, Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules.auto_c import AutoC
from keras_h0h1.schedules.base import State
from keras_h0h1.schedules.based import BasedSchedule
from keras_h0h1.schedules.spike_guard import SpikeGuard

# The exponent that goes with a `C` found by itself.
AUTO_RHO = 2.0


@keras.saving.register_keras_serializable("keras_h0h1")
class LossAdaptiveLearningRate(BasedSchedule):
    r"""Learning rate that rises as the loss falls, and needs no warm-up length.

    $$\eta_k = \frac{\eta_\text{base}(k)}{\max\{1, (\Delta_k / C)^\rho\}},
    \qquad \Delta_k = \max(f_k - f^*, 0)$$

    where $f_k$ is the loss of the batch whose gradient is applied in step $k$. Far above
    the minimum the curvature of the loss is large and the step is short; once the gap is at
    most `C` the factor is exactly 1 and the base schedule is left alone.

    Put it into any Keras optimizer and wrap that in `keras_h0h1.LossAware`, which is how the
    loss gets here.

    With the default `C="auto"` nothing else has to be known: `C` comes from the first loss, the
    factor rises by at most 1/100 a step, and the warm-up ends where the loss has stopped falling;
    see `keras_h0h1.schedules.AutoC`. With a number the rule is the paper's. It is in units of the
    loss: a language model with a vocabulary of 50,280 words starts at a loss of ln 50280 = 10.8,
    so `C=5` starts at 46% of the base rate. **If the loss never falls below such a `C + f_star`,
    the factor never reaches 1**: look at it with `keras_h0h1.callbacks.LearningRateLogger`.

    Args:
        base: Float or `keras.optimizers.schedules.LearningRateSchedule`: the peak rate, or the
            schedule whose rate is multiplied by the factor. A float can be set later, as
            `optimizer.learning_rate = value`; `ReduceLROnPlateau` and `LearningRateScheduler` do
            so, and the factor stays.
        C: `"auto"`, an `AutoC`, or a float > 0 in units of the loss: the gap below which the factor
            is 1. Defaults to `"auto"`. In training it is `optimizer.C`, which may be set.
        f_star: Float, the loss's infimum or a lower bound on it; or `"auto"`, which is 0 until a
            negative loss is seen, and then twice the lowest loss so far. Defaults to `"auto"` where
            `C` is found by itself, and else to `0.0`, the paper's choice: right for cross-entropy
            and squared errors that can be driven to zero.
        rho: Float > 0, the exponent of the smoothness condition. Defaults to `2.0` where `C` is
            found by itself, and else to `1.0`, (H0, H1)-smoothness.
        smoothing: `None` or a float in [0, 1): the rate follows the exponential moving average
            $\bar f_k = s \bar f_{k-1} + (1 - s) f_k$ with the start-up bias removed. Defaults to
            `None`, the paper's rule. Worth a try where batches are so small that their losses
            scatter by more than `C`.
        latch: Boolean. With `True` the factor stays 1 once it has reached 1. Defaults
            to `False`, the paper's rule.
        min_factor: Float in [0, 1], a floor for the factor. Defaults to `0.0`, no floor.
        spike_threshold: `None` or a float > 0: a batch whose loss is more than so many standard
            deviations above the mean of the recent losses gets a short step, $(z_\text{max}/z)^2$
            of its own; see `keras_h0h1.schedules.spike_guard`. Defaults to `None`, no guard.
        learning_rate: Another name for `base`, by keyword.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range.

    Example: half the base rate at twice `C`, all of it at `C` and below.

    >>> import keras
    >>> from keras_h0h1 import LossAdaptiveLearningRate, LossAware
    >>> schedule = LossAdaptiveLearningRate(0.1, C=4.0)
    >>> optimizer = LossAware(keras.optimizers.SGD(schedule))
    >>> weight = keras.Variable([1.0])
    >>> for loss in (8.0, 4.0, 0.5):
    ...     optimizer.apply([keras.ops.ones((1,))], [weight], loss=loss)
    ...     print(round(float(optimizer.effective_learning_rate), 6))
    0.05
    0.1
    0.1

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025): the rule,
            with $f^* = 0$ and $\rho = 1$.
        Yuxing Liu, Yuze Ge, Rui Pan, An Kang, Tong Zhang, "Theoretical Analysis on how
            Learning Rate Warmup Accelerates Convergence", arXiv 2509.07972 (2025): the
            exponent $\rho$.
    """

    def __init__(
        self,
        base: float | keras.optimizers.schedules.LearningRateSchedule | None = None,
        C: float | str | AutoC = "auto",
        f_star: float | str | None = None,
        rho: float | None = None,
        smoothing: float | None = None,
        latch: bool = False,
        min_factor: float = 0.0,
        spike_threshold: float | None = None,
        *,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | None = None,
    ) -> None:
        if (base is None) == (learning_rate is None):
            raise TypeError(
                "Pass the base rate once, as `base` or as `learning_rate`. "
                f"Received: base={base!r}, learning_rate={learning_rate!r}"
            )
        super().__init__(learning_rate if base is None else base, "base")
        self.C = _check_C(C)
        self.f_star = _check_f_star(f_star, self.auto)
        if rho is None:
            rho = AUTO_RHO if self.auto else 1.0
        self.rho = check_number("rho", rho, low=0.0, strict=True)
        if smoothing is not None:
            smoothing = check_number("smoothing", smoothing, low=0.0)
            if smoothing >= 1.0:
                raise ValueError(
                    "`smoothing` must be < 1, or the average would never move. "
                    f"Received: smoothing={smoothing!r}"
                )
        self.smoothing = smoothing
        if not isinstance(latch, bool):
            raise TypeError(f"`latch` must be a boolean. Received: latch={latch!r}")
        self.latch = latch
        self.min_factor = check_number("min_factor", min_factor, low=0.0, high=1.0)
        self.spike_threshold = spike_threshold
        self._guard = None if spike_threshold is None else SpikeGuard(spike_threshold)

    @property
    def auto(self) -> AutoC | None:
        """How `C` is found, or `None` where it is a number."""
        if isinstance(self.C, AutoC):
            return self.C
        return AutoC() if self.C == "auto" else None

    def constants(self) -> dict[str, float]:
        numbers: dict[str, float] = {"rho": self.rho, "smoothing": self.smoothing or 0.0}
        numbers |= {"min_factor": self.min_factor}
        numbers |= {"C": self.C} if self.auto is None else self.auto.constants()
        if self.f_star != "auto":
            numbers["f_star"] = self.f_star
        if self._guard is not None:
            numbers |= self._guard.constants()
        return numbers

    def copy(self) -> "LossAdaptiveLearningRate":
        duplicate = super().copy()
        duplicate.C = self._current_C()
        return duplicate

    def _current_C(self):
        # One that is found by itself is part of the state, and the copy finds its own.
        return self.C if self.auto is not None else self._current("C", self.C)

    def initial_state(self) -> dict[str, float]:
        state = super().initial_state()
        # Before the first loss the rate reads as the base.
        state |= {"factor": 1.0, "C": 0.0 if self.auto is not None else self.C}
        if self.auto is not None:
            state |= self.auto.initial_state()
        if self.smoothing is not None:
            state["average"] = 0.0
            # Sum of the average's weights, 1 - s^k: dividing by it removes the start-up bias.
            state["weight"] = 0.0
        if self.latch:
            state["latched"] = 0.0
        if self._guard is not None:
            state |= self._guard.initial_state()
        return state

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        new: dict[str, Tensor] = {}
        f_star, batch_loss = self.f_star, loss
        if f_star == "auto":
            f_star = self_tuning.lower_bound(state["lowest_loss"])
        C, release = state["C"], 0.0
        if self.auto is not None:
            new |= self.auto.update(state, loss, f_star)
            # 0 before the first loss above the bound; the gap is 0 then, too.
            C = ops.where(new["C"] > 0.0, new["C"], ops.ones_like(loss))
            release = new["release"] * state["tuned"]
        if self.smoothing is not None:
            s = self.smoothing
            new["average"] = self_tuning.moving_average(state["average"], loss, s)
            new["weight"] = s * state["weight"] + (1.0 - s)
            loss = new["average"] / new["weight"]
        factor = step_sizes.practical_factor(loss, C, f_star, self.rho)
        if self.auto is not None:
            factor = self.auto.limited(state, ops.maximum(factor, release))
        if self.min_factor > 0.0:
            factor = ops.maximum(factor, self.min_factor)
        if self.auto is not None:
            new["risen"] = factor
        if self.latch:
            reached = ops.cast(factor >= 1.0, factor.dtype)
            new["latched"] = ops.maximum(state["latched"], reached)
            factor = ops.maximum(factor, new["latched"])
        if self._guard is not None:
            new |= self._guard.update(state, batch_loss)
            factor = factor * new["spike_factor"]
        new["factor"] = factor
        return new

    def given_C(self) -> float | str | dict:
        """`C` as it was given, whatever it was set to since, in the form of the configuration."""
        return dataclasses.asdict(self.C) if isinstance(self.C, AutoC) else self.C

    def own_config(self) -> dict:
        return {
            "C": self.given_C() if self.auto is not None else self._current_C(),
            "f_star": self.f_star,
            "rho": self.rho,
            "smoothing": self.smoothing,
            "latch": self.latch,
            "min_factor": self.min_factor,
            "spike_threshold": self.spike_threshold,
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        config = dict(config)
        if isinstance(config["C"], dict):
            config["C"] = AutoC(**config["C"])
        return super().from_config(config)


def _check_C(C):
    if isinstance(C, AutoC) or (isinstance(C, str) and C == "auto"):
        return C
    try:
        return check_number("C", C, low=0.0, strict=True)
    except TypeError:
        raise TypeError(
            f'`C` must be a real number, "auto" or an `AutoC`. Received: C={C!r}'
        ) from None


def _check_f_star(f_star, auto):
    if f_star is None:
        return 0.0 if auto is None else "auto"
    if isinstance(f_star, str) and f_star == "auto":
        return f_star
    try:
        return check_number("f_star", f_star)
    except TypeError:
        raise TypeError(
            f'`f_star` must be a real number, "auto" or None. Received: f_star={f_star!r}'
        ) from None
