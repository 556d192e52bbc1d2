"""MoMo's step size, from averages of the loss and of the gradient."""

from typing import Any

import keras
from keras import ops

from keras_h0h1 import polyak
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules.base import State
from keras_h0h1.schedules.based import Base, BasedSchedule


@keras.saving.register_keras_serializable("keras_h0h1")
class MomentumModelLearningRate(BasedSchedule):
    """The scalar half of `MoMo` and `MoMoAdam`, which hold the averaged gradients.

    The rate is that which multiplies the average with its start-up bias removed, so it is at
    most the base rate.

    Args:
        learning_rate: Float or Keras schedule, the largest step.
        beta: Float in [0, 1), the momentum of the averages.
        corrected: Boolean. `True` starts the averages at 0, as Adam does; `False` at the first
            loss and gradient.
        lower_bound: Float, a lower bound of the loss.
        adapt_lower_bound: Boolean, whether the bound is raised in training.
    """

    needs_products = True

    def __init__(
        self,
        learning_rate: Base,
        beta: float,
        corrected: bool,
        lower_bound: float = 0.0,
        adapt_lower_bound: bool = False,
    ) -> None:
        super().__init__(learning_rate, "learning_rate")
        self.beta = check_beta("beta", beta)
        self.corrected = corrected
        self.lower_bound = check_number("lower_bound", lower_bound)
        if not isinstance(adapt_lower_bound, bool):
            raise TypeError(
                "`adapt_lower_bound` must be a boolean. "
                f"Received: adapt_lower_bound={adapt_lower_bound!r}"
            )
        self.adapt_lower_bound = adapt_lower_bound

    def initial_state(self) -> dict[str, float]:
        # The count is that of the steps taken: it does not move where a step was skipped.
        state = {"count": 0.0, "mean_loss": 0.0, "mean_product": 0.0}
        if self.adapt_lower_bound:
            state["estimate"] = self.lower_bound
        return {**super().initial_state(), **state}

    def momentum(self, count: Tensor) -> Tensor:
        """The momentum of the step after `count` others."""
        if self.corrected:
            return self.beta
        return ops.where(count > 0.0, self.beta * ops.ones_like(count), ops.zeros_like(count))

    def correction(self, count: Tensor) -> Tensor:
        """The sum of the average's weights after `count` steps."""
        return 1.0 - self.beta**count if self.corrected else 1.0

    def update(self, state: State, loss: Tensor, products: Any = None) -> State:
        beta = self.momentum(state["count"])
        new = {
            "count": state["count"] + 1.0,
            "mean_loss": beta * state["mean_loss"] + (1.0 - beta) * loss,
            "mean_product": beta * state["mean_product"]
            + (1.0 - beta) * products["gradient_product"],
        }
        base = self.base_rate(state["step"], state)
        means = (new["mean_loss"], new["mean_product"], products["product"])
        correction = self.correction(new["count"])
        decay = products["weight_decay"]
        estimate = self.lower_bound
        if self.adapt_lower_bound:
            estimate = polyak.momo_reset(
                *means, base, state["estimate"], self.lower_bound, decay, correction
            )
        squared = products["squared_norm"]
        step = polyak.momo(*means, squared, base, estimate, decay, correction)
        if self.adapt_lower_bound:
            new["estimate"] = polyak.momo_lower_bound(
                *means, squared, step, self.lower_bound, correction
            )
        new["factor"] = self.over_base(step * correction, base)
        return new

    def own_config(self) -> dict:
        names = ("beta", "corrected", "lower_bound", "adapt_lower_bound")
        return {name: getattr(self, name) for name in names}


def check_beta(name: str, value: Any) -> float:
    """Returns `value` as a float in [0, 1)."""
    value = check_number(name, value, low=0.0)
    if value >= 1.0:
        raise ValueError(
            f"`{name}` must be < 1, or the average would never move. Received: {name}={value!r}"
        )
    return value
