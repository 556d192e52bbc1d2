"""The rule of (L0, L1)-smoothness: the rate from the gradient's norm alone."""

import math

import keras

from keras_h0h1 import warmup_factors
from keras_h0h1._types import Config, Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules.base import LossDrivenSchedule, State
from keras_h0h1.schedules.based import Base, BasedSchedule


@keras.saving.register_keras_serializable("keras_h0h1")
class GradientNormLearningRate(LossDrivenSchedule):
    r"""Learning rate given by the norm of the gradient.

    $$\eta_k = \frac{1}{L_0 + L_1 \|g_k\|}$$

    for a loss with $\|\nabla^2 f(w)\| \le L_0 + L_1 \|\nabla f(w)\|$, with $\|g_k\|$ the norm of
    all gradients of step $k$ together, before any clipping. It is what loss-driven rules are
    compared with: the gradient's norm in place of the gap.

    Written with a base rate $\eta = 1 / L_0$ and $c = L_0 / L_1$ the rate is
    $\eta / (1 + \|g\| / c)$, which is between 1/2 and 1 times $\eta / \max(1, \|g\| / c)$. With
    plain gradient descent the latter **is clipping**: the step that `global_clipnorm=c` makes of
    the rate $\eta$. With Adam and other optimizers that normalise the gradient clipping does
    little, and a rate that follows the norm is another rule.

    It needs one pass over the gradients per step, and is not available under `tf.distribute`. The
    loss is not used, but as for every schedule of this package a step with a loss that is not
    finite leaves the rate as it was. Before the first step the rate reads as that of a gradient
    of 0.

    Args:
        L0: Float >= 0, the curvature where the gradient vanishes.
        L1: Float >= 0, by how much the curvature may grow per unit of the gradient's norm. One of
            `L0`, `L1` must be positive; with `L0=0` the step has the length $1 / L_1$ always.

    Raises:
        TypeError: If a constant is not a number.
        ValueError: If a constant is NaN, infinite or negative, or both are 0.

    References:
        Jingzhao Zhang, Tianxing He, Suvrit Sra, Ali Jadbabaie, "Why gradient clipping accelerates
            training: A theoretical justification for adaptivity", arXiv 1905.11881 (2019).

    Example:

    >>> import keras
    >>> from keras_h0h1 import LossAware
    >>> from keras_h0h1.schedules import GradientNormLearningRate
    >>> optimizer = LossAware(keras.optimizers.SGD(GradientNormLearningRate(1.0, 1.0)))
    >>> weight = keras.Variable([1.0])
    >>> optimizer.apply([keras.ops.convert_to_tensor([3.0])], [weight], loss=1.0)
    >>> float(optimizer.effective_learning_rate), float(weight[0])
    (0.25, 0.25)
    """

    needs_gradient_norm = True

    def __init__(self, L0: float, L1: float) -> None:
        super().__init__()
        self.L0 = check_number("L0", L0, low=0.0)
        self.L1 = check_number("L1", L1, low=0.0)
        if self.L0 == 0.0 and self.L1 == 0.0:
            raise ValueError(
                "`L0` and `L1` must not both be 0: the loss would have no curvature and the step "
                f"no bound. Received: L0={L0!r}, L1={L1!r}"
            )

    def constants(self) -> dict[str, float]:
        return {"L0": self.L0, "L1": self.L1}

    def initial_state(self) -> dict[str, float]:
        return {"rate": float(warmup_factors.gradient_norm_rate(0.0, self.L0, self.L1))}

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        return {"rate": warmup_factors.gradient_norm_rate(gradient_norm, self.L0, self.L1)}

    def base_rate(self, step: Tensor, state: State) -> Tensor:
        # With L0 = 0 the rate grows without bound near a stationary point: no number is its base.
        return 1.0 / self.L0 if self.L0 > 0.0 else math.nan

    def factor(self, state: State) -> Tensor:
        return state["rate"] * (self.L0 if self.L0 > 0.0 else math.nan)

    def rate(self, step: Tensor, state: State) -> Tensor:
        return state["rate"]

    def get_config(self) -> Config:
        return {"L0": self.L0, "L1": self.L1}


@keras.saving.register_keras_serializable("keras_h0h1")
class GradientNormAdaptiveLearningRate(BasedSchedule):
    r"""A base rate, reduced where the gradient is large.

    $$\eta_k = \frac{\eta(k)}{1 + \|g_k\| / c}$$

    with the base rate $\eta$, a number or a schedule, and $\|g_k\|$ the norm of all gradients of
    step $k$ together, before any clipping. With a number it is `GradientNormLearningRate` with
    $L_0 = 1 / \eta$ and $L_1 = 1 / (c \eta)$; the base is never exceeded, as with the schedules
    that follow the loss, so that it may be compared with them at the same base rates.

    Before the first loss the rate is 0. It is not available under `tf.distribute`.

    Args:
        base: Float or `keras.optimizers.schedules.LearningRateSchedule`, the largest rate. A float
            can be set later, as `optimizer.learning_rate = value`.
        half_norm: Float > 0, $c$, the norm of the gradient at which the rate is half of the base.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range.

    References:
        J. Zhang, T. He, S. Sra, A. Jadbabaie, "Why gradient clipping accelerates training: A
            theoretical justification for adaptivity", arXiv 1905.11881 (2019).

    Example: the norm is three times `half_norm`.

    >>> import keras
    >>> from keras_h0h1 import LossAware
    >>> from keras_h0h1.schedules import GradientNormAdaptiveLearningRate
    >>> optimizer = LossAware(keras.optimizers.SGD(GradientNormAdaptiveLearningRate(0.5, 1.0)))
    >>> weight = keras.Variable([1.0])
    >>> optimizer.apply([keras.ops.convert_to_tensor([3.0])], [weight], loss=1.0)
    >>> float(optimizer.effective_learning_rate), float(weight[0])
    (0.125, 0.625)
    """

    needs_gradient_norm = True

    def __init__(self, base: Base, half_norm: float) -> None:
        super().__init__(base, "base")
        self.half_norm = check_number("half_norm", half_norm, low=0.0, strict=True)

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        # With L0 = 1 the rate is the factor.
        return {
            "factor": warmup_factors.gradient_norm_rate(gradient_norm, 1.0, 1.0 / self.half_norm)
        }

    def own_config(self) -> dict:
        return {"half_norm": self.half_norm}
