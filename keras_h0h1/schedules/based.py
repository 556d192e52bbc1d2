"""The part that schedules with a base rate share: a float that can be set, or a Keras schedule."""

from typing import Any, Self, TypeAlias

import keras
from keras import ops

from keras_h0h1._types import Config, Tensor
from keras_h0h1._validation import check_number, check_rate
from keras_h0h1.schedules.base import LossDrivenSchedule, State

Base: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


class BasedSchedule(LossDrivenSchedule):
    """A schedule whose rate is `base * factor`, with the factor in its state.

    Subclasses pass the base and the name of its argument to `__init__`, and define
    `own_config()`, the other arguments, and `update`, which returns `"factor"`.
    """

    def __init__(self, base: Base, argument: str) -> None:
        super().__init__()
        self._argument = argument
        self.base = check_base(argument, base)

    @property
    def _scheduled(self) -> bool:
        return isinstance(self.base, keras.optimizers.schedules.LearningRateSchedule)

    def own_config(self) -> dict:
        """The arguments other than the base."""
        raise NotImplementedError

    def constants(self) -> dict[str, float]:
        return {k: v for k, v in self.own_config().items() if isinstance(v, float)}

    def check_constants(self, dtype: str) -> None:
        super().check_constants(dtype)
        if not self._scheduled:
            check_rate(self._argument, self.base, dtype)

    def initial_state(self) -> dict[str, float]:
        # No rate before the first loss: a step that comes without one moves nothing.
        return {"factor": 0.0} | ({} if self._scheduled else {"base": self.base})

    def base_rate(self, step: Tensor, state: State) -> Tensor:
        if "base" in state:
            return state["base"]
        # Keras' schedules answer in float32 whatever floatx says.
        schedule: Any = self.base
        return ops.cast(schedule(step), state["factor"].dtype)

    def over_base(self, rate: Tensor, base: Tensor) -> Tensor:
        """The factor of a rate: rate / base, and 0 where the base is 0."""
        positive = base > 0.0
        safe = ops.where(positive, base, ops.ones_like(base))
        return ops.where(positive, rate / safe, ops.zeros_like(base))

    def copy(self) -> "BasedSchedule":
        duplicate = super().copy()
        duplicate.base = self._current_base()
        return duplicate

    def _current_base(self) -> Base:
        """The base as it is now: a rate may have been set since, and a copy starts from there."""
        return self.base if self._scheduled else self._current("base", self.base)

    def _current(self, name: str, value: float) -> float:
        """The number in the state, as it was given where it was not set since."""
        if self._variables is None:
            return value
        stored = ops.convert_to_numpy(self._variables[name])
        # Not as the dtype of the state rounds it.
        return value if stored == stored.dtype.type(value) else float(stored)

    def get_config(self) -> Config:
        base = self._current_base()
        if self._scheduled:
            base = keras.optimizers.schedules.serialize(base)
        return {self._argument: base, **self.own_config()}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**read_schedules(config))


def check_base(argument: str, base: Base, instead: str = "") -> Base:
    """Returns `base` as a float or as the Keras schedule it is.

    Args:
        argument: Its name, for the message.
        base: What the caller passed.
        instead: What to write where the base is driven by the loss, or nothing.

    Raises:
        TypeError: If it is neither, or is driven by the loss.
        ValueError: If it is NaN, infinite or negative.
    """
    if isinstance(base, LossDrivenSchedule):
        raise TypeError(
            f"`{argument}` must not itself be driven by the loss: the two factors would multiply. "
            + (f"{instead} " if instead else "")
            + f"Received: {argument}={base!r}"
        )
    if isinstance(base, keras.optimizers.schedules.LearningRateSchedule):
        return base
    try:
        return check_number(argument, base, low=0.0)
    except TypeError:
        raise TypeError(
            f"`{argument}` must be a float or a `keras.optimizers.schedules.LearningRateSchedule`. "
            f"Received: {argument}={base!r}"
        ) from None


def read_schedules(config: dict) -> dict:
    """`config` with the serialized Keras schedules in it as objects."""
    return {
        name: keras.optimizers.schedules.deserialize(value)
        if name in ("base", "learning_rate", "max_learning_rate", "peak")
        and isinstance(value, dict)
        else value
        for name, value in config.items()
    }
