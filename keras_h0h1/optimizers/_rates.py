"""The rates of a loss-aware optimizer, as attributes."""

from typing import Any

from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_rate
from keras_h0h1.optimizers._rate_state import RateState

_NOT_BUILT = (
    "A MultiOptimizer made from a function knows its optimizers, and `LossAware` their learning "
    "rates, once it is built: call `optimizer.build(trainable_variables)` first. "
    "Received: optimizer={!r}"
)


class RateAttributes:
    """Reads and sets the rates of the loss-driven schedules inside an optimizer.

    No optimizer itself: a base class of `LossAware`, which fills `_states`, one for each schedule.
    """

    _states: tuple[RateState, ...] = ()

    def _only_state(self) -> RateState:
        if not self._states:
            # Only a MultiOptimizer made from a function may have none.
            raise AttributeError(_NOT_BUILT.format(self))
        if len(self._states) > 1:
            raise AttributeError(
                "A MultiOptimizer has several learning rates; read and set them on its "
                "`optimizers`, and read the effective ones from `rate_states`. "
                f"Received: {len(self._states)} loss-driven schedules"
            )
        return self._states[0]

    @property
    def learning_rate(self) -> Tensor:
        state = self._only_state()
        if "base" in state.variables:
            return state.variables["base"]
        # As Keras does: a schedule's value at the current count of steps.
        step = _keras.get_iterations(state.leaf)
        return state.schedule.base_rate(step, state.schedule.current_state())

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
    def base_learning_rate(self) -> Tensor:
        return self.learning_rate

    @base_learning_rate.setter
    def base_learning_rate(self, value: Any) -> None:
        self.learning_rate = value

    @property
    def C(self) -> Any:
        return self._only_state().C

    @C.setter
    def C(self, value: Any) -> None:
        self._only_state().C = value

    @property
    def effective_learning_rate(self) -> Tensor:
        return self._only_state().rate()

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
