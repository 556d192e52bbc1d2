"""What a schedule that follows the loss has to say about itself."""

import copy
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_h0h1._validation import check_representable, largest_rate

State = dict[str, Any]


class LossDrivenSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Base class of the schedules whose rate depends on the loss.

    Keras calls a schedule with the step alone, and several times per step, so `__call__` is pure
    here: it reads a state that `LossAware` advances once per step. A subclass describes

    * `initial_state()`: the scalars it remembers, by name, with their first values;
    * `update(state, loss, gradient_norm)`: their values after a step's loss was seen;
    * `base_rate(step, state)` and `factor(state)`: the rate is their product.

    All three are pure functions of scalars, so the same code runs compiled on each backend. The
    base class owns the entry `"base"`, a settable base rate, for subclasses that want one, and
    `"last_rate"`, the rate that stays where theirs is not usable: see `effective_rate`.

    Attributes:
        needs_gradient_norm: Whether `update` uses the global norm of the gradient. It costs one
            pass over the gradients, so it is computed only for the schedules that ask for it.
        needs_products: Whether `update` gets, in place of that norm, the dictionary of scalars
            that `optimizer.products` returns: inner products of gradients, averages and weights.
            A step whose loss or products are not finite is then not taken at all, because the
            averages of the loss and of the gradient belong together.
    """

    needs_gradient_norm = False
    needs_products = False

    def __init__(self):
        self._variables: Mapping[str, keras.Variable] | None = None

    def initial_state(self) -> dict[str, float]:
        """Names and first values of the scalars that this schedule remembers."""
        raise NotImplementedError

    def update(self, state: State, loss, gradient_norm=None) -> State:
        """The entries of `state` that change once a finite `loss` was seen.

        `state["step"]` is the count of steps that Keras passes to schedules.
        """
        raise NotImplementedError

    def base_rate(self, step, state: State):
        """The rate before the loss-driven factor."""
        raise NotImplementedError

    def factor(self, state: State):
        """The loss-driven factor."""
        return state["factor"]

    def rate(self, step, state: State):
        """The rate by the formula, `base_rate * factor`."""
        return self.base_rate(step, state) * self.factor(state)

    def effective_rate(self, step, state: State):
        """The rate that reaches the weights: `rate`, or the last usable one where it is not usable.

        A rate is usable if it is finite, not negative and so small that its square is finite.
        Weight decay asks for the rate as the gradient step does, and gets the same.
        """
        last = ops.convert_to_tensor(state["last_rate"])
        dtype = keras.backend.standardize_dtype(last.dtype)
        rate = ops.cast(self.rate(step, state), dtype)
        # NaN fails both comparisons.
        usable = ops.logical_and(rate >= 0.0, rate <= largest_rate(dtype))
        return ops.where(usable, rate, last)

    def constants(self) -> dict[str, float]:
        """The numbers that `update` computes with, by name; each must be usable in the dtype."""
        return {}

    def check_constants(self, dtype: str) -> None:
        """Raises ValueError if a number is not usable in `dtype`, that of the state."""
        for name, value in self.constants().items():
            # The gap of a loss as large as that has to be finite as well.
            high = float(np.finfo(dtype).max) / 2.0 if name == "f_star" else None
            check_representable(name, value, dtype, high=high)

    def copy(self) -> "LossDrivenSchedule":
        """An equal schedule that is not bound. It need not be serialisable."""
        duplicate = copy.copy(self)
        duplicate._variables = None
        return duplicate

    def bind(self, variables: Mapping[str, keras.Variable]) -> None:
        """Connects the schedule with the variables that hold its state. `LossAware` calls this."""
        self._variables = variables

    @property
    def bound(self) -> bool:
        """Whether an optimizer that sees the loss owns this schedule."""
        return self._variables is not None

    def current_state(self) -> State:
        """The state as tensors; inside a compiled step, the traced ones."""
        if self._variables is None:
            name = type(self).__name__
            raise RuntimeError(
                f"`{name}` was asked for a learning rate, but the optimizer that holds it does "
                "not see the loss. Wrap the optimizer: "
                f"`LossAware(keras.optimizers.AdamW({name}(...)))`, or give `AdaptiveGD` the "
                f"constants. Received: an optimizer that is not loss-aware, with {self!r}"
            )
        return {name: ops.convert_to_tensor(v) for name, v in self._variables.items()}

    def __call__(self, step):
        return self.effective_rate(step, self.current_state())

    def __repr__(self):
        try:
            config = self.get_config()
        except NotImplementedError:  # Of a base schedule that is not serialisable.
            return object.__repr__(self)
        arguments = ", ".join(f"{k}={v!r}" for k, v in config.items())
        return f"{type(self).__name__}({arguments})"
