"""Polyak's step size, capped: SPS_max, and ALI-G with it."""

import keras

from keras_h0h1 import polyak
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_choice, check_number
from keras_h0h1.schedules.base import State
from keras_h0h1.schedules.based import Base, BasedSchedule

VARIANTS = ("sps", "sps+")


@keras.saving.register_keras_serializable("keras_h0h1")
class PolyakLearningRate(BasedSchedule):
    r"""Stochastic Polyak step size: the gap over the squared norm of the gradient, capped.

    $$\eta = s \min\left(\frac{f - f^*}{c\, s^2 \|g\|^2 + \epsilon}, \eta_\max\right)$$

    with the loss $f$ and the gradient $g$ of the same batch; $g$ before any clipping. Use it in
    `keras_h0h1.LossAware` around `keras.optimizers.SGD`; `keras_h0h1.optimizers.PolyakSGD` and
    `keras_h0h1.optimizers.ALIG` are these pairs ready made, and say more.

    Before the first loss the rate is 0. It does not run under `tf.distribute`.

    Args:
        max_learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`,
            $\eta_\max$. Defaults to `1.0`, as in optax. A float can be set later, as
            `optimizer.learning_rate = value`.
        scaling: Float > 0, $s$. Defaults to `1.0`.
        f_min: Float, $f^*$, a lower bound of the loss. Defaults to `0.0`.
        eps: Float >= 0, $\epsilon$. Defaults to `0.0`.
        variant: `"sps"`, or `"sps+"`, which takes a negative $f - f^*$ for 0. Defaults to `"sps"`.
        c: Float > 0, the constant of SPS_max. Defaults to `1.0`; the paper has 0.5 for convex and
            0.2 for deep problems.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range, or `variant` is unknown.

    Example: gradient of norm 2, so that the step is a quarter of the loss, and at most 1.

    >>> import keras
    >>> from keras_h0h1 import LossAware
    >>> from keras_h0h1.schedules import PolyakLearningRate
    >>> optimizer = LossAware(keras.optimizers.SGD(PolyakLearningRate(1.0)))
    >>> weight = keras.Variable([1.0])
    >>> for loss in (8.0, 2.0):
    ...     optimizer.apply([2.0 * keras.ops.ones((1,))], [weight], loss=loss)
    ...     print(float(optimizer.effective_learning_rate))
    1.0
    0.5

    References:
        Nicolas Loizou, Sharan Vaswani, Issam Laradji, Simon Lacoste-Julien, "Stochastic Polyak
            Step-size for SGD: An Adaptive Learning Rate for Fast Convergence", arXiv 2002.10542
            (2020).
        Guillaume Garrigos, Robert Gower, Fabian Schaipp, "Function Value Learning: Adaptive
            Learning Rates Based on the Polyak Stepsize and Function Splitting in ERM", arXiv
            2307.14528 (2023).
    """

    needs_gradient_norm = True

    def __init__(
        self,
        max_learning_rate: Base = 1.0,
        scaling: float = 1.0,
        f_min: float = 0.0,
        eps: float = 0.0,
        variant: str = "sps",
        c: float = 1.0,
    ) -> None:
        super().__init__(max_learning_rate, "max_learning_rate")
        self.scaling = check_number("scaling", scaling, low=0.0, strict=True)
        self.f_min = check_number("f_min", f_min)
        self.eps = check_number("eps", eps, low=0.0)
        self.variant = check_choice("variant", variant, VARIANTS)
        self.c = check_number("c", c, low=0.0, strict=True)

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        base = self.base_rate(state["step"], state)
        rate = polyak.polyak(loss, gradient_norm, base, **self.own_config())
        return {"factor": self.over_base(rate, base)}

    def own_config(self) -> dict:
        names = ("scaling", "f_min", "eps", "variant", "c")
        return {name: getattr(self, name) for name in names}
