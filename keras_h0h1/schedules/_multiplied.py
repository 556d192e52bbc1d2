"""A base rate times a factor that follows from the step alone."""

from typing import Self, TypeAlias

import keras
from keras import ops

from keras_h0h1._types import Config, Tensor
from keras_h0h1.schedules.based import check_base, read_schedules

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule


class MultipliedSchedule(Schedule):
    """`base(step) * multiplier(step)`; subclasses define `multiplier`.

    Args:
        base: Float >= 0, or any Keras schedule that is not driven by the loss.
        reason: What to write instead where it is, for the message.
    """

    def __init__(self, base: float | Schedule, reason: str) -> None:
        super().__init__()
        self.base = check_base("base", base, reason)

    def multiplier(self, step: Tensor) -> Tensor:
        """The factor of the update before which `step` others were taken, a float tensor."""
        raise NotImplementedError

    def __call__(self, step: Tensor) -> Tensor:
        multiplier = self.multiplier(step)
        if not isinstance(self.base, keras.optimizers.schedules.LearningRateSchedule):
            return self.base * multiplier
        # Keras' schedules answer in float32 whatever floatx says.
        return ops.cast(self.base(step), multiplier.dtype) * multiplier

    def get_config(self) -> dict:
        """The constructor's arguments."""
        base = self.base
        if isinstance(base, keras.optimizers.schedules.LearningRateSchedule):
            base = keras.optimizers.schedules.serialize(base)
        return {"base": base}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**read_schedules(config))


def update_number(step: Tensor, steps_per_update: int) -> Tensor:
    """$t = 1, 2, ...$: which update Keras' count of micro-batches belongs to, in floatx."""
    update = ops.floor_divide(ops.convert_to_tensor(step), steps_per_update)
    return ops.cast(update, keras.config.floatx()) + 1.0
