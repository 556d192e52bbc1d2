"""A loss-aware optimizer whose configuration is its own arguments, without the optimizer inside."""

from typing import Any, ClassVar, Self

import keras

from keras_h0h1._types import Config
from keras_h0h1.optimizers.loss_aware import LossAware
from keras_h0h1.schedules.based import read_schedules


class FlatOptimizer(LossAware):
    """Base of the optimizers that are made of a schedule and an inner optimizer of their own.

    A subclass lists in `_arguments` those of its constructor's arguments that are no options of
    every Keras optimizer; each is found in the schedule's configuration or is an attribute of the
    inner optimizer, under the name that `_renamed` gives.
    """

    _arguments: tuple[str, ...] = ()
    _renamed: ClassVar[dict[str, str]] = {}

    def get_config(self) -> dict[str, Any]:
        # Keras' own part alone: the inner optimizer's class is a detail.
        config = keras.optimizers.Optimizer.get_config(self.inner_optimizer)
        del config["learning_rate"]
        known = self._only_state().schedule.get_config()
        for argument in self._arguments:
            name = self._renamed.get(argument, argument)
            config[argument] = known[name] if name in known else getattr(self, name)
        return {**config, "name": self.name}

    @classmethod
    def from_config(cls, config: Config, custom_objects: Config | None = None) -> Self:
        return cls(**read_schedules(config))
