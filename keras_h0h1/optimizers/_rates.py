"""The rates of a loss-aware optimizer, as attributes."""

from typing import Any

from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_rate
from keras_h0h1.optimizers._rate_state import RateState
from keras_h0h1.optimizers.layerwise import Layerwise

_NOT_BUILT = (
    "A MultiOptimizer made from a function knows its optimizers, and `LossAware` their learning "
    "rates, once it is built: call `optimizer.build(trainable_variables)` first. "
    "Received: optimizer={!r}"
)


class RateAttributes:
    """Reads and sets the rates of the loss-driven schedules inside an optimizer.

    No optimizer itself: a base class of `LossAware`, which fills `_states`, one for each schedule.
    """

    inner_optimizer: Any
    _states: tuple[RateState, ...] = ()

    def _only_state(self) -> RateState:
        if not self._states:
            # Only a MultiOptimizer made from a function may have none.
            raise AttributeError(_NOT_BUILT.format(self))
        if len(self._states) > 1 and not isinstance(self.inner_optimizer, Layerwise):
            raise AttributeError(
                "A MultiOptimizer has several learning rates; read and set them on its "
                "`optimizers`, and read the effective ones from `rate_states`. "
                f"Received: {len(self._states)} loss-driven schedules"
            )
        return self._states[0]

    def _schedule(self):
        """The schedule that `learning_rate` belongs to; with `Layerwise`, without multiplier."""
        schedule = self._only_state().schedule
        return schedule.schedule if isinstance(self.inner_optimizer, Layerwise) else schedule

    @property
    def learning_rate(self) -> Tensor:
        state = self._only_state()
        if "base" in state.variables:
            return state.variables["base"]
        # As Keras does: a schedule's value at the current count of steps.
        step, schedule = _keras.get_iterations(state.leaf), self._schedule()
        return schedule.base_rate(step, schedule.current_state())

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        state = self._only_state()
        if "base" not in state.variables:
            raise TypeError(
                "The base rate follows a schedule or the constants, so it is not settable. "
                "Construct the schedule with a float `base` if it has to be. "
                f"Received: learning_rate={value!r}, schedule={state.schedule!r}"
            )
        value = value if isinstance(value, float) else ops.convert_to_numpy(value)
        state.variables["base"].assign(check_rate("learning_rate", value, _keras.state_dtype()))

    @property
    def optimizers(self) -> Any:
        """Those of a `MultiOptimizer` inside."""
        if isinstance(self.inner_optimizer, Layerwise):
            # Keras' callbacks set the rates of all that are here, and there is one to set.
            raise AttributeError(
                "`LossAware(Layerwise(...))` has one learning rate, not several optimizers; the "
                "groups are in `inner_optimizer.optimizers` and `rate_states`. "
                f"Received: inner_optimizer={self.inner_optimizer!r}"
            )
        return self.inner_optimizer.optimizers

    @property
    def base_learning_rate(self) -> Tensor:
        return self.learning_rate

    @base_learning_rate.setter
    def base_learning_rate(self, value: Any) -> None:
        self.learning_rate = value

    @property
    def C(self) -> Any:
        variable = self._only_state().C
        # Of several groups' variables an `assign` to one would leave the others as they are.
        return variable if len(self._states) == 1 else ops.convert_to_tensor(variable)

    @C.setter
    def C(self, value: Any) -> None:
        self._only_state()
        for state in self._states:
            state.C = value

    @property
    def effective_learning_rate(self) -> Tensor:
        state = self._only_state()
        if not isinstance(self.inner_optimizer, Layerwise):
            return state.rate()
        # No group need have the multiplier 1, so it is in no group's `last_rate`.
        return state.base_rate_of(self._schedule()) * state.factor()

    @property
    def learning_rate_factor(self) -> Tensor:
        return self._only_state().factor()

    @property
    def observed_loss(self) -> Tensor:
        if not self._states:
            raise AttributeError(_NOT_BUILT.format(self))
        # Each schedule sees the same losses; under accumulation they may end windows apart.
        return ops.convert_to_tensor(self._states[0].variables["loss"])

    @property
    def rate_states(self) -> tuple[RateState, ...]:
        """One per loss-driven schedule: its optimizer, its schedule and its variables."""
        return self._states
