"""A loss-driven schedule times a constant, for one group of layers."""

from collections.abc import Mapping
from typing import Any, Self

import keras

from keras_h0h1._types import Config, Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules.base import LossDrivenSchedule, State


@keras.saving.register_keras_serializable("keras_h0h1")
class ScaledLearningRate(LossDrivenSchedule):
    r"""`multiplier` times the rate of another loss-driven schedule.

    Base rate and effective rate are multiplied, the factor is that of `schedule`. A settable base
    keeps its own value: 0.1 set as the base is a base rate of `0.1 * multiplier` here.
    `keras_h0h1.optimizers.Layerwise` makes these, one for each group of layers.

    Args:
        schedule: A loss-driven schedule. It is copied.
        multiplier: Float >= 0.

    Raises:
        TypeError: If `schedule` is not driven by the loss, or `multiplier` is not a number.
        ValueError: If `multiplier` is NaN, infinite or negative.

    Example:

    >>> from keras_h0h1 import LossAdaptiveLearningRate
    >>> from keras_h0h1.schedules import ScaledLearningRate, simulate
    >>> schedule = ScaledLearningRate(LossAdaptiveLearningRate(0.4, C=4.0), 0.5)
    >>> simulate(schedule, [8.0, 4.0]).effective_learning_rate.round(4).tolist()
    [0.1, 0.2]
    """

    def __init__(self, schedule: LossDrivenSchedule, multiplier: float) -> None:
        super().__init__()
        if not isinstance(schedule, LossDrivenSchedule):
            raise TypeError(
                "`schedule` must be driven by the loss, as `LossAdaptiveLearningRate` is. "
                f"Received: schedule={schedule!r}"
            )
        self.schedule = schedule.copy()
        schedule.mark_in_use()
        self.multiplier = check_number("multiplier", multiplier, low=0.0)

    def __getattr__(self, name: str) -> Any:
        # `f_star`, `C` and what else the schedule has to say; private names are this object's.
        if name.startswith("_") or name == "schedule":
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(self.schedule, name)

    @property
    def f_star(self) -> Tensor:
        """The lower bound on the loss that `schedule` computes with."""
        return self.schedule.f_star

    @property
    def needs_gradient_norm(self) -> bool:  # type: ignore[override]
        return self.schedule.needs_gradient_norm

    def initial_state(self) -> dict[str, float]:
        return self.schedule.initial_state()

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        return self.schedule.update(state, loss, gradient_norm)

    def base_rate(self, step: Tensor, state: State) -> Tensor:
        return self.multiplier * self.schedule.base_rate(step, state)

    def factor(self, state: State) -> Tensor:
        return self.schedule.factor(state)

    def rate(self, step: Tensor, state: State) -> Tensor:
        return self.multiplier * self.schedule.rate(step, state)

    def constants(self) -> dict[str, float]:
        return {"multiplier": self.multiplier, **self.schedule.constants()}

    def check_constants(self, dtype: str) -> None:
        super().check_constants(dtype)
        self.schedule.check_constants(dtype)

    def copy(self) -> "ScaledLearningRate":
        duplicate = super().copy()
        duplicate.schedule = self.schedule.copy()
        return duplicate

    def bind(self, variables: Mapping[str, keras.Variable]) -> None:
        super().bind(variables)
        self.schedule.bind(variables)

    def get_config(self) -> Config:
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "multiplier": self.multiplier}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        config = dict(config)
        config["schedule"] = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(**config)
