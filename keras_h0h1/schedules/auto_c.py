"""What stands behind `C="auto"`: a constant from the first losses, and an end of warm-up."""

import dataclasses
from typing import Any

from keras import ops

from keras_h0h1 import self_tuning
from keras_h0h1._types import Numeric, Tensor
from keras_h0h1._validation import check_integer, check_number

# Time constants of the two averages, 25 and 100 steps: the trend is that of the last hundred.
_FAST, _SLOW = 0.96, 0.99
# Before that many losses the trend is noise.
_FEWEST = 25


@dataclasses.dataclass(frozen=True)
class AutoC:
    r"""How `LossAdaptiveLearningRate` finds its `C` by itself.

    $$C = \kappa\,(\bar f_0 - f^*), \qquad
    \text{factor}_k = \min\{\max\{\min\{1, (C/\Delta_k)^\rho\}, r_k\},\;
    \text{factor}_{k-1} + 1/T\}$$

    with the mean $\bar f_0$ of the first losses, so that the factor may be 1 once the gap has
    fallen to the share $\kappa$ of what it was.

    * It rises by at most $1/T$ a step, from 0. Where the loss halves in a few steps (targets that
      are not normalised, a large bias to learn) a warm-up that ends with them would be none.
    * A loss that never falls so far must not keep the rate low permanently: it may have a high
      floor (label smoothing, a large vocabulary) or be low already (fine-tuning). So the warm-up
      ends where the loss has stopped falling. The floor $r_k$ rises from 0 to 1 in `patience`
      steps in which the loss does not fall, and more slowly where it falls by less than the share
      `tolerance` of the gap in 100 steps. It counts from the 25th loss on and never falls.

    The defaults, with the exponent 2, were chosen on three development workloads by a rule that was
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
    patience: float | None = 300.0

    def __post_init__(self) -> None:
        check = {
            "fraction": check_number("fraction", self.fraction, low=0.0, high=1.0, strict=True),
            "first": check_integer("first", self.first, low=1),
            "tolerance": check_number("tolerance", self.tolerance, low=0.0, strict=True),
        }
        for name in ("min_steps", "patience"):
            if getattr(self, name) is not None:
                check[name] = check_number(name, getattr(self, name), low=1.0)
        for name, value in check.items():
            object.__setattr__(self, name, value)

    def constants(self) -> dict[str, float]:
        """The numbers that must be usable in the dtype of the state."""
        return {"fraction": self.fraction, "tolerance": self.tolerance}

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
        fall = self_tuning.relative_fall(
            self_tuning.unbiased(new["fast_average"], at_least_one, _FAST),
            self_tuning.unbiased(new["slow_average"], at_least_one, _SLOW),
            at_least_one,
            _FAST,
            _SLOW,
            f_star,
        )
        stalled = self_tuning.stalled_share(fall, self.tolerance)
        stalled = ops.where(count >= float(_FEWEST), stalled, 0.0 * stalled)
        added = 0.0 * stalled if self.patience is None else stalled / self.patience
        new["release"] = ops.minimum(state["release"] + added, one)
        return new

    def limited(self, state: dict[str, Any], factor: Tensor) -> Tensor:
        """The factor, at most `1 / min_steps` above that of the last step."""
        if self.min_steps is None:
            return factor
        limited = ops.minimum(factor, state["risen"] + 1.0 / self.min_steps)
        return ops.where(state["tuned"] > 0.0, limited, factor)
