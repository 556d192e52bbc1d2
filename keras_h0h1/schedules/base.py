"""What a schedule that follows the loss has to say about itself."""

import copy
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._types import ArrayLike, Figure, Tensor
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
    base class owns the entry `"base"`, a settable base rate, for subclasses that want one;
    `"last_rate"`, the rate that stays where theirs is not usable (see `effective_rate`);
    `"loss"`, the last loss; and `"lowest_loss"`, the lowest of `f_star` and all losses up to the
    one that `update` is called with.

    Attributes:
        needs_gradient_norm: Whether `update` uses the global norm of the gradient. It costs one
            pass over the gradients, so it is computed only for the schedules that ask for it.
        judges_non_finite: Whether `update` is called with a loss or a norm that is not finite too.
            By default such a step changes nothing.
        needs_products: Whether `update` gets, in place of that norm, the dictionary of scalars
            that `optimizer.products` returns: inner products of gradients, averages and weights.
            A step whose loss or products are not finite is then not taken at all, because the
            averages of the loss and of the gradient belong together.
    """

    needs_gradient_norm: bool = False
    judges_non_finite: bool = False
    needs_products = False

    # The lower bound on the loss below which the gap counts as 0; "auto" begins with 0. `None`:
    # losses below a bound are the subclass's own affair, and no warning tells of them.
    f_star: Any = None

    def __init__(self) -> None:
        self._variables: Mapping[str, keras.Variable] | None = None
        self._in_use = False

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and vars(self).get("_in_use"):
            raise AttributeError(
                f"`{name}` of a schedule that an optimizer uses has no effect on that optimizer, "
                "which has a copy of its own. Set `learning_rate` or `C` of the optimizer instead, "
                f"or make a new schedule. Received: {name}={value!r}"
            )
        super().__setattr__(name, value)

    def initial_state(self) -> dict[str, float]:
        """Names and first values of the scalars that this schedule remembers."""
        raise NotImplementedError

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        """The entries of `state` that change once a finite `loss` was seen.

        `state["step"]` is the count of steps that Keras passes to schedules.
        """
        raise NotImplementedError

    def first_state(self) -> dict[str, float]:
        """`initial_state` and the entries of the base class: the whole state before a loss."""
        lowest = self.f_star if isinstance(self.f_star, float) else 0.0
        # A rate of 0 moves nothing: the step until the first usable rate.
        own = {"loss": 0.0, "lowest_loss": lowest, "last_rate": 0.0}
        if self.needs_products:
            # Whether the optimizer takes the step at hand: 1 or 0.
            own["taken"] = 0.0
        return own | self.initial_state()

    def advance(
        self,
        state: State,
        step: Tensor,
        loss: Tensor,
        gradient_norm: Tensor | None = None,
        usable: Tensor = True,
    ) -> State:
        """The entries after a step's loss; what is not finite leaves them as they were.

        Args:
            state: All entries.
            step: The optimizer's counter in this step.
            loss: The loss of this step.
            gradient_norm: The norm of its gradient, or the products, for schedules that need them.
            usable: Whether the loss counts at all, a boolean or a tensor.

        Returns:
            The new values of all entries that `first_state` has.
        """
        received, finite = loss, ops.isfinite(loss)
        if self.judges_non_finite:
            loss = ops.where(finite, loss, state["loss"])
        else:
            usable = ops.logical_and(usable, finite)
            received = loss = ops.where(usable, loss, ops.zeros_like(loss))
            for value in self._needed(gradient_norm):
                usable = ops.logical_and(usable, ops.isfinite(value))
        own = {"loss": loss, "lowest_loss": ops.minimum(state["lowest_loss"], loss)}
        new = own | self.update({**state, **own, "step": step}, received, gradient_norm)
        new = {name: ops.cast(value, state[name].dtype) for name, value in new.items()}
        # All or none: an average and its weight belong together.
        for value in new.values():
            usable = ops.logical_and(usable, ops.isfinite(value))
        new = {name: ops.where(usable, value, state[name]) for name, value in new.items()}
        if self.needs_products:
            new["taken"] = ops.cast(usable, state["taken"].dtype)
        new["last_rate"] = self.effective_rate(step, {**state, **new})
        return new

    def _needed(self, gradient_norm) -> list:
        if self.needs_products:
            return list(gradient_norm.values())
        return [gradient_norm] if self.needs_gradient_norm else []

    def warnings(self, state: State) -> list[str]:
        """What a user should hear of, after a training with losses that the schedule saw."""
        lowest = ops.convert_to_numpy(state["lowest_loss"])
        if not isinstance(self.f_star, float) or not lowest < lowest.dtype.type(self.f_star):
            return []
        return [
            "A loss is below `f_star`. The gap counts as 0 there, so the rate is not reduced, "
            "whatever the loss. Set `f_star` to a lower bound of the loss. "
            f"Received: loss={float(lowest):g}, f_star={self.f_star:g}"
        ]

    def base_rate(self, step: Tensor, state: State) -> Tensor:
        """The rate before the loss-driven factor."""
        raise NotImplementedError

    def factor(self, state: State) -> Tensor:
        """The loss-driven factor."""
        return state["factor"]

    def rate(self, step: Tensor, state: State) -> Tensor:
        """The rate by the formula, `base_rate * factor`."""
        return self.base_rate(step, state) * self.factor(state)

    def effective_rate(self, step: Tensor, state: State) -> Tensor:
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

    def check_optimizer(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Raises ValueError if this schedule cannot work in `optimizer`."""

    def copy(self) -> "LossDrivenSchedule":
        """An equal schedule that is not bound. It need not be serialisable."""
        duplicate = copy.copy(self)
        duplicate._variables = None
        duplicate._in_use = False
        return duplicate

    def mark_in_use(self) -> None:
        """From here on the attributes are fixed: an optimizer has taken a copy, or is bound."""
        self._in_use = True

    def bind(self, variables: Mapping[str, keras.Variable]) -> None:
        """Connects the schedule with the variables that hold its state. `LossAware` calls this."""
        self._variables = variables
        self.mark_in_use()

    @property
    def bound(self) -> bool:
        """Whether an optimizer that sees the loss owns this schedule."""
        return self._variables is not None

    def current_state(self) -> State:
        """The state as tensors; inside a compiled step, the traced ones."""
        if self._variables is None:
            _keras.keep_model_usable()
            name = type(self).__name__
            raise RuntimeError(
                f"`{name}` was asked for a learning rate, but the optimizer that holds it does "
                "not see the loss. Wrap the optimizer: "
                f"`LossAware(keras.optimizers.AdamW({name}(...)))`, or give `AdaptiveGD` the "
                f"constants. Received: an optimizer that is not loss-aware, with {self!r}"
            )
        return {name: ops.convert_to_tensor(v) for name, v in self._variables.items()}

    def plot(self, losses: ArrayLike, **arguments: Any) -> Figure:
        """Draws what the schedule does along given losses: `keras_h0h1.schedules.plot`."""
        from keras_h0h1.schedules.simulation import plot

        return plot(self, losses, **arguments)

    def __call__(self, step: Tensor) -> Tensor:
        return self.effective_rate(step, self.current_state())

    def __repr__(self) -> str:
        try:
            config = self.get_config()
        except NotImplementedError:  # Of a base schedule that is not serialisable.
            return object.__repr__(self)
        arguments = ", ".join(f"{k}={v!r}" for k, v in config.items())
        return f"{type(self).__name__}({arguments})"
