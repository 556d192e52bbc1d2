"""The loss-driven schedules inside an optimizer, each with a state of its own."""

from collections.abc import Callable
from typing import Any

import keras

from keras_h0h1 import _keras
from keras_h0h1.optimizers._rate_state import RateState
from keras_h0h1.optimizers.layerwise import Layerwise
from keras_h0h1.schedules import LossDrivenSchedule


class AdoptsSchedules:
    """Gives the schedules inside `inner_optimizer` their states.

    No optimizer itself: a base class of `LossAware`.
    """

    inner_optimizer: Any
    add_variable: Callable[..., keras.Variable]
    _variables: list[keras.Variable]
    _states: tuple[RateState, ...]

    def _raise_no_schedule(self):
        schedules = [_keras.get_schedule(leaf) for leaf in self._leaves()]
        raise ValueError(
            "`LossAware` has no effect on an optimizer without a loss-driven schedule. Give the "
            "optimizer one as its `learning_rate`, for example "
            "`LossAdaptiveLearningRate(1e-3, C=4.0)`. "
            f"Received: learning_rate={schedules!r}"
        )

    def _leaves(self):
        return _keras.leaf_optimizers(self.inner_optimizer)

    def _adopt_schedules(self) -> None:
        """Gives each loss-driven schedule inside a state of its own."""
        known = {id(state.leaf) for state in self._states}
        for leaf in self._leaves():
            schedule = _keras.get_schedule(leaf)
            if id(leaf) in known or not isinstance(schedule, LossDrivenSchedule):
                continue
            given, schedule = schedule, schedule.copy()
            given.mark_in_use()
            _keras.set_schedule(leaf, schedule)
            self._states += (RateState(leaf, schedule, self.add_variable, self._shared()),)
        for leaf in self._leaves():
            _keras.make_readable(_keras.get_iterations(leaf))
        for variable in self._variables:
            _keras.make_readable(variable)

    def _shared(self) -> dict:
        """The base rate of `Layerwise`: one variable, of which each group takes its multiple."""
        if not isinstance(self.inner_optimizer, Layerwise) or not self._states:
            return {}
        variables = self._states[0].variables
        return {"base": variables["base"]} if "base" in variables else {}

    def _renew_states(self) -> None:
        """Makes the states again where an option that shapes them was set since."""
        stale = [s for s in self._states if s.num_micro_batches != _micro_batches(s.leaf)]
        if not stale:
            return
        variables = {id(v): v for state in self._states for v in state.variables.values()}
        for variable in variables.values():
            _keras.untrack_variable(self, variable)
        self._states = ()
        self._adopt_schedules()


def _micro_batches(leaf) -> int:
    return leaf.gradient_accumulation_steps or 1
