"""NGN-MD: the non-negative Gauss-Newton step size with momentum and a diagonal preconditioner."""

from typing import Any

import keras

from keras_h0h1.optimizers._flat import FlatOptimizer
from keras_h0h1.optimizers._products import PreconditionedHeavyBall
from keras_h0h1.schedules.based import Base
from keras_h0h1.schedules.ngn import PreconditionedNGNLearningRate


@keras.saving.register_keras_serializable("keras_h0h1")
class NGNMD(FlatOptimizer):
    r"""NGN-MD (version 1): NGN's step size, momentum, and RMSprop's preconditioner.

    $$v_k = \beta_2 v_{k-1} + (1 - \beta_2) g_k^2, \qquad
    D_k = \epsilon + \sqrt{v_k / (1 - \beta_2^k)}, \qquad
    \gamma_k = \frac{c}{1 + c \sum_i g_{k,i}^2 / D_{k,i} / (2 \Delta_k)}$$

    $$w_{k+1} = w_k - (1 - \beta_1) \gamma_k g_k / D_k + \beta_1 (w_k - w_{k-1})$$

    with the loss $f_k$, the gap $\Delta_k = \max(f_k - f^*, 0)$ and the gradient $g_k$ of batch
    $k$. The rate is of the size that suits Adam.

    * The loss has to be non-negative, or `f_min` a lower bound of it.
    * The gradient is the clipped one everywhere, in the norm as well.
    * $w_k - w_{k-1}$ is that of the steps alone: weight decay, constraints and overwriting by
      the average (`ema_overwrite_frequency`) do not enter the momentum.
    * `weight_decay` is decoupled and multiplied by $\gamma$.
    * A step whose loss or gradient is not finite is not taken: no average moves, no weight.
    * What the average will be is kept from the norm to the step: two copies of the weights for
      that time.
    * It does not run under `tf.distribute`; JAX's `keras.distribution` is fine.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, $c$, the
            largest $\gamma$. Defaults to `0.01`. `optimizer.learning_rate` reads and sets it.
        beta_1: Float in [0, 1), the momentum. Defaults to `0.9`.
        beta_2: Float in [0, 1), the momentum of the average square. Defaults to `0.999`.
        epsilon: Float >= 0. Defaults to `1e-8`.
        f_min: Float, $f^*$. Defaults to `0.0`, the paper's.
        name: String. Defaults to `"ngnmd"`.
        **options: `weight_decay`, `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`,
            `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`: as in every Keras optimizer.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range, or an option is unknown.

    Example: in the first step $g / D$ is the sign of the gradient.

    >>> import keras
    >>> from keras import ops
    >>> from keras_h0h1.optimizers import NGNMD
    >>> w, optimizer = keras.Variable([8.0]), NGNMD(1.0)
    >>> optimizer.apply([2.0 * ops.convert_to_tensor(w)], [w], loss=w[0] * w[0])
    >>> round(float(optimizer.effective_learning_rate), 4), round(float(w.numpy()[0]), 4)
    (0.8889, 7.9111)

    References:
        Rustem Islamov, Niccolò Ajroldi, Antonio Orvieto, Aurelien Lucchi, "Enhancing Optimizer
            Stability: Momentum Adaptation of The NGN Step-size", arXiv 2508.15071 (2025): NGN-MDv1.
            Version 2, with a step size for each coordinate, is left out: the text of the paper that
            was at hand lacks its formula (Algorithm 2), and the description (the square of the
            partial derivative in place of that of the norm) leaves open whether the preconditioner
            divides it. Appendix F.1 finds version 1 slightly better when tuned, and less
            sensitive to the rate.
    """

    _arguments = ("learning_rate", "beta_1", "beta_2", "epsilon", "f_min")

    def __init__(
        self,
        learning_rate: Base = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        f_min: float = 0.0,
        name: str | None = "ngnmd",
        **options: Any,
    ) -> None:
        schedule = PreconditionedNGNLearningRate(learning_rate, f_min)
        inner = PreconditionedHeavyBall(schedule, beta_1, beta_2, epsilon, **options)
        super().__init__(inner, name=name)
