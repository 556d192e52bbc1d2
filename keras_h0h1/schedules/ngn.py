"""The non-negative Gauss-Newton step size."""

from typing import Any

import keras
from keras import ops

from keras_h0h1 import polyak
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules.base import State
from keras_h0h1.schedules.based import Base, BasedSchedule


@keras.saving.register_keras_serializable("keras_h0h1")
class NGNLearningRate(BasedSchedule):
    r"""Non-negative Gauss-Newton step size: between the base rate and twice Polyak's step.

    $$\gamma = \frac{c}{1 + c\, \|g\|^2 / (2 \Delta)}, \qquad \Delta = \max(f - f^*, 0)$$

    with the loss $f$ and the gradient $g$ of the same batch; $g$ before any clipping. Use it in
    `keras_h0h1.LossAware` around an optimizer of your choice; `keras_h0h1.optimizers.NGN` and
    `keras_h0h1.optimizers.NGNM` are ready made, and say more.

    Before the first loss the rate is 0. It does not run under `tf.distribute`.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, $c$, the
            largest step. A float can be set later, as `optimizer.learning_rate = value`.
        f_min: Float, $f^*$, a lower bound of the loss. Defaults to `0.0`, as in the paper.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range.

    Example: the loss is 2 and the gradient's norm 2, so the rate is half of c.

    >>> import keras
    >>> from keras_h0h1 import LossAware
    >>> from keras_h0h1.schedules import NGNLearningRate
    >>> optimizer = LossAware(keras.optimizers.SGD(NGNLearningRate(1.0)))
    >>> weight = keras.Variable([1.0])
    >>> optimizer.apply([2.0 * keras.ops.ones((1,))], [weight], loss=2.0)
    >>> float(optimizer.effective_learning_rate)
    0.5

    References:
        Antonio Orvieto, Lin Xiao, "An Adaptive Stochastic Gradient Method with Non-negative
            Gauss-Newton Stepsizes", arXiv 2407.04358 (2024).
    """

    needs_gradient_norm = True

    def __init__(self, learning_rate: Base, f_min: float = 0.0) -> None:
        super().__init__(learning_rate, "learning_rate")
        self.f_min = check_number("f_min", f_min)

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        base = self.base_rate(state["step"], state)
        rate = polyak.ngn(loss, gradient_norm, base, self.f_min)
        return {"factor": self.over_base(rate, base)}

    def own_config(self) -> dict:
        return {"f_min": self.f_min}


@keras.saving.register_keras_serializable("keras_h0h1")
class PreconditionedNGNLearningRate(NGNLearningRate):
    r"""The same with $\|g\|^2_{D^{-1}} = \sum_i g_i^2 / D_i$, which the optimizer computes.

    For `keras_h0h1.optimizers.NGNMD`; other optimizers have no `products`.
    """

    needs_gradient_norm = False
    needs_products = True

    def initial_state(self) -> dict[str, float]:
        return {**super().initial_state(), "count": 0.0}

    def update(self, state: State, loss: Tensor, products: Any = None) -> State:
        norm = ops.sqrt(products["squared_norm"])
        return {**super().update(state, loss, norm), "count": state["count"] + 1.0}
