"""What stands behind `C="auto"`: a constant from the first losses, and an end of warm-up."""

import dataclasses
from typing import Any

from keras import ops

from keras_h0h1 import self_tuning
from keras_h0h1._types import Numeric, Tensor
from keras_h0h1._validation import check_integer, check_number

# Time constants of the two averages, 25 and 100 steps: the trend is that of the last hundred.
_FAST, _SLOW = 0.96, 0.99
# Standard deviation of their difference, in units of that of the losses, where the loss is constant
# but for noise.
_DIFFERENCE = self_tuning.difference_of_averages(_FAST, _SLOW)
# A rise by a smaller share is taken for rounding: the averages' own is up to 100 times that of a
# float32, and a loss that is exactly constant has no noise to compare with.
_ROUNDING = 1e-4
# Before that many losses the trend is noise.
_FEWEST = 25


@dataclasses.dataclass(frozen=True)
class AutoC:
    r"""How `LossAdaptiveLearningRate` finds its `C` by itself.

    $$C = \kappa\,(\bar f_0 - f^*), \qquad
    \text{factor}_k = \min\{\max\{\min\{1, (C/\Delta_k)^\rho\}, r_k\},\;
    \text{factor}_{k-1} + 1/T,\; a_k\}$$

    with the mean $\bar f_0$ of the first losses, so that the factor may be 1 once the gap has
    fallen to the share $\kappa$ of what it was.

    * It rises by at most $1/T$ a step, from 0. Where the loss halves in a few steps (targets that
      are not normalised, a large bias to learn) a warm-up that ends with them would be none.
    * A loss that never falls so far must not keep the rate low permanently: it may have a high
      floor (label smoothing, a large vocabulary) or be low already (fine-tuning). So the warm-up
      ends where the loss has stopped falling. The floor $r_k$ rises from 0 to 1 in `patience`
      steps in which the loss does not fall, and more slowly where it falls by less than the share
      `tolerance` of the gap in 100 steps. It counts from the 25th loss on and never falls.
    * A loss that rises is a sign that the rate is too high. The cap $a_k$, 1 at first, shrinks by
      the share `1 / retreat` in each step in which the average of the last 25 losses is above that
      of the last hundred by more than `rise_threshold` times the standard deviation which this
      difference would have if the loss were constant but for its noise. In all other steps it
      grows by `1 / recovery`, up to 1. Mere noise does not lower the rate: with the defaults the
      mean cap is 1.00 then (`benchmarks/quality/noise.py`). With `latch=True` the cap counts no
      longer once the factor was 1.

    The defaults, with the exponent 2, were chosen on five development workloads by a rule that was
    written down before (`benchmarks/quality/PROTOCOL.md`).

    All of it is a handful of scalars in the optimizer's state: saved, resumed, the same on every
    replica.

    Args:
        fraction: Float in (0, 1], $\kappa$.
        min_steps: Float >= 1, $T$, the fewest steps in which the factor rises from 0 to 1, or
            `None`: no limit.
        first: Integer >= 1, the number of finite losses in $\bar f_0$.
        tolerance: Float > 0, the relative fall of the gap in 100 steps below which the loss
            counts as stalled, in part.
        patience: Float >= 1, the number of stalled steps until the warm-up has ended, or `None`:
            no end but that of the loss.
        rise_threshold: Float > 0, by how many standard deviations the loss has to rise for the
            factor to retreat, or `None`: no retreat.
        retreat: Float > 1, the number of steps of a rising loss in which the cap falls to a third.
        recovery: Float >= 1, the number of other steps in which it rises from 0 to 1.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If one is outside its range.

    Example: the rate starts at an eighth, and is whole when the loss has halved.

    >>> import keras
    >>> from keras_h0h1 import LossAdaptiveLearningRate, LossAware
    >>> from keras_h0h1.schedules import AutoC
    >>> schedule = LossAdaptiveLearningRate(0.8, C=AutoC(fraction=0.5, min_steps=None), rho=3.0)
    >>> optimizer = LossAware(keras.optimizers.SGD(schedule))
    >>> weight = keras.Variable([1.0])
    >>> for loss in (6.0, 4.0, 3.0):
    ...     optimizer.apply([keras.ops.ones((1,))], [weight], loss=loss)
    ...     print(round(float(optimizer.effective_learning_rate), 4))
    0.1
    0.3375
    0.8
    """

    fraction: float = 0.6
    min_steps: float | None = 100.0
    first: int = 1
    tolerance: float = 0.05
    patience: float | None = 100.0
    rise_threshold: float | None = 4.0
    retreat: float = 25.0
    recovery: float = 3000.0

    def __post_init__(self) -> None:
        check = {
            "fraction": check_number("fraction", self.fraction, low=0.0, high=1.0, strict=True),
            "first": check_integer("first", self.first, low=1),
            "tolerance": check_number("tolerance", self.tolerance, low=0.0, strict=True),
            "retreat": check_number("retreat", self.retreat, low=1.0, strict=True),
            "recovery": check_number("recovery", self.recovery, low=1.0),
        }
        for name in ("min_steps", "patience"):
            if getattr(self, name) is not None:
                check[name] = check_number(name, getattr(self, name), low=1.0)
        if self.rise_threshold is not None:
            check["rise_threshold"] = check_number(
                "rise_threshold", self.rise_threshold, low=0.0, strict=True
            )
        for name, value in check.items():
            object.__setattr__(self, name, value)

    def constants(self) -> dict[str, float]:
        """The numbers that must be usable in the dtype of the state."""
        numbers = {"fraction": self.fraction, "tolerance": self.tolerance}
        if self.rise_threshold is not None:
            numbers["rise_threshold"] = self.rise_threshold
        return numbers

    def initial_state(self) -> dict[str, float]:
        """The scalars that are remembered. `tuned` is 0 once `C` was set by hand."""
        return {
            "tuned": 1.0,
            "count": 0.0,
            "initial_loss": 0.0,
            "fast_average": 0.0,
            "slow_average": 0.0,
            "release": 0.0,
            "risen": 0.0,
            "deviation": 0.0,
            "cap": 1.0,
        }

    def update(self, state: dict[str, Any], loss: Tensor, f_star: Numeric) -> dict[str, Any]:
        """The entries after a finite loss, `C` among them."""
        one = ops.ones_like(loss)
        # A first loss at the bound itself says nothing about the size of the losses to come.
        begun = ops.logical_or(state["count"] > 0.0, loss > f_star)
        count = state["count"] + ops.cast(begun, loss.dtype)
        at_least_one = ops.maximum(count, one)
        is_first = ops.logical_and(begun, count <= float(self.first))
        initial = state["initial_loss"]
        initial = ops.where(is_first, initial + (loss - initial) / at_least_one, initial)
        new = {"count": count, "initial_loss": initial}
        tuned = ops.where(count > 0.0, self.fraction * (initial - f_star), 0.0 * loss)
        new["C"] = ops.where(state["tuned"] > 0.0, tuned, state["C"])
        for name, decay in (("fast_average", _FAST), ("slow_average", _SLOW)):
            average = self_tuning.moving_average(state[name], loss, decay)
            new[name] = ops.where(begun, average, state[name])
        fast = self_tuning.unbiased(new["fast_average"], at_least_one, _FAST)
        slow = self_tuning.unbiased(new["slow_average"], at_least_one, _SLOW)
        known = count >= float(_FEWEST)
        fall = self_tuning.relative_fall(fast, slow, at_least_one, _FAST, _SLOW, f_star)
        stalled = self_tuning.stalled_share(fall, self.tolerance)
        stalled = ops.where(known, stalled, 0.0 * stalled)
        added = 0.0 * stalled if self.patience is None else stalled / self.patience
        new["release"] = ops.minimum(state["release"] + added, one)
        if self.rise_threshold is not None:
            rise = fast - slow - _ROUNDING * ops.abs(slow)
            new |= self._retreated(state, loss, count, rise, known)
        return new

    def _retreated(self, state, loss, count, rise, known):
        before = self_tuning.unbiased(
            state["fast_average"], ops.maximum(count - 1.0, ops.ones_like(loss)), _FAST
        )
        from_before = ops.where(count > 1.0, loss - before, 0.0 * loss)
        deviation = self_tuning.root_mean_square(state["deviation"], from_before, _SLOW)
        weight = 1.0 - _SLOW ** ops.maximum(count, ops.ones_like(loss))
        limit = self.rise_threshold * _DIFFERENCE * deviation / ops.sqrt(weight)
        rises = ops.logical_and(known, rise > limit)
        grown = ops.minimum(state["cap"] + 1.0 / self.recovery, ops.ones_like(loss))
        cap = ops.where(rises, state["cap"] * (1.0 - 1.0 / self.retreat), grown)
        return {"deviation": deviation, "cap": cap}

    def limited(self, state: dict[str, Any], new: dict[str, Any], factor: Tensor) -> Tensor:
        """The factor, at most `1 / min_steps` above that of the last step, and at most the cap."""
        limited = factor
        if self.min_steps is not None:
            limited = ops.minimum(limited, state["risen"] + 1.0 / self.min_steps)
        if self.rise_threshold is not None:
            limited = ops.minimum(limited, new["cap"])
        return ops.where(state["tuned"] > 0.0, limited, factor)
