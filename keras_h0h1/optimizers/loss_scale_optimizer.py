"""Keras' loss scaling, with the loss passed on."""

from typing import Any

import keras

from keras_h0h1._types import Tensor


@keras.saving.register_keras_serializable("keras_h0h1")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """`keras.optimizers.LossScaleOptimizer` that passes the unscaled loss to the optimizer inside.

    Keras' own does not call the inner optimizer's `scale_loss`, so `LossAware` in it never sees a
    loss, and `model.compile` adds one by itself under the `mixed_float16` policy. Wrapping
    explicitly prevents that. With any other optimizer inside, it is exactly Keras' own. A step
    that is skipped because a gradient is not finite moves the learning rate neither.

    Args:
        inner_optimizer: The optimizer, such as `LossAware(...)` or `AdaptiveGD(...)`.
        initial_scale: Float, the first loss scale. Defaults to `2**15`, as in Keras.
        dynamic_growth_steps: Integer, finite steps after which the scale doubles. Defaults to
            `2000`, as in Keras.
        name: String, the optimizer's name.

    Example:

    >>> import keras
    >>> from keras_h0h1 import LossAdaptiveLearningRate, LossAware, LossScaleOptimizer
    >>> schedule = LossAdaptiveLearningRate(1e-3, C=4.0)
    >>> optimizer = LossScaleOptimizer(LossAware(keras.optimizers.AdamW(schedule)))
    >>> float(optimizer.scale_loss(keras.ops.convert_to_tensor(2.0)))
    65536.0
    """

    # What tells this class from Keras' own, which keeps the loss to itself.
    passes_the_loss_on = True

    def __getattr__(self, name: str) -> Any:
        # `effective_learning_rate` and whatever else the inner optimizer has to say.
        inner = vars(self).get("inner_optimizer")
        if inner is None or name.startswith("_"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(inner, name)

    @property
    def C(self) -> Any:
        """The constant `C` of the optimizer inside, as `LossAware` has it; settable."""
        return self.inner_optimizer.C

    @C.setter
    def C(self, value: Any) -> None:
        self.inner_optimizer.C = value

    def scale_loss(self, loss: Tensor) -> Tensor:
        if hasattr(self.inner_optimizer, "observe"):
            self.inner_optimizer.observe(loss)
        return super().scale_loss(loss)
