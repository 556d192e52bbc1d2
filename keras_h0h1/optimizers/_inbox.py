"""Where the loss is between `scale_loss` and `apply`, and what to say where it is missing."""

from keras_h0h1 import _keras
from keras_h0h1._types import Tensor

_NO_LOSS = (
    "`LossAware` was asked to apply gradients, but no loss reached it in this step. "
    "Add one line to your `train_step` or training loop, before the gradients are applied: "
    "`optimizer.observe(loss)`. Or pass the loss along: "
    "`optimizer.apply(gradients, variables, loss=loss)`, on JAX "
    "`optimizer.stateless_apply(..., loss=loss)`; or call `loss = optimizer.scale_loss(loss)` "
    "before the gradient is taken, as Keras' own trainers do. "
    "Received: loss=None"
)
SCALED_BY_KERAS = (
    "`keras.optimizers.LossScaleOptimizer` keeps the loss to itself, so `LossAware` inside it "
    "would never see one. Under the `mixed_float16` policy `model.compile` adds it: compile with "
    "`keras_h0h1.LossScaleOptimizer(LossAware(...))` instead. "
    "Received: optimizer={!r}"
)
IN_A_MULTI_OPTIMIZER = (
    "`LossAware` inside a `keras.optimizers.MultiOptimizer` would never see the loss. Wrap the "
    "other way round: give the MultiOptimizer's optimizers their schedules, and compile with "
    "`LossAware(MultiOptimizer(...))`. "
    "Received: optimizer={!r}"
)


class Inbox:
    """The loss between `scale_loss` and `apply`, one place per replica.

    A plain object, so that neither Keras nor TensorFlow takes it for trackable state. On JAX it
    holds a tracer for the length of one trace: an assignment made in `scale_loss` would be lost,
    because Keras runs that in a scope it throws away.
    """

    def __init__(self) -> None:
        self._losses: dict[int, Tensor] = {}

    def put(self, loss: Tensor) -> None:
        self._losses[_keras.replica_key()] = loss

    def take(self) -> Tensor | None:
        return self._losses.pop(_keras.replica_key(), None)


def no_loss_error() -> RuntimeError:
    """The error for a step in which no loss arrived."""
    return RuntimeError(_NO_LOSS)
