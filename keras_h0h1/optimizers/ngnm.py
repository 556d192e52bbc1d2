"""NGN-M: the non-negative Gauss-Newton step size with momentum."""

from typing import Any

import keras

from keras_h0h1.optimizers._flat import FlatOptimizer
from keras_h0h1.optimizers._products import HeavyBall
from keras_h0h1.schedules.based import Base
from keras_h0h1.schedules.ngn import NGNLearningRate


@keras.saving.register_keras_serializable("keras_h0h1")
class NGNM(FlatOptimizer):
    r"""Heavy-ball momentum with the non-negative Gauss-Newton step size, NGN-M.

    $$w_{k+1} = w_k - (1 - \beta) \gamma_k g_k + \beta (w_k - w_{k-1}), \qquad
    \gamma_k = \frac{c}{1 + c\, \|g_k\|^2 / (2 \Delta_k)}$$

    with the loss $f_k$, the gap $\Delta_k = \max(f_k - f^*, 0)$ and the gradient $g_k$ of batch
    $k$. With a constant $\gamma$ it is gradient descent along the exponential average of the
    gradients, so a rate found with averaged momentum carries over; Keras' `SGD` has no factor
    $1 - \beta$.

    * The loss has to be non-negative, or `f_min` a lower bound of it.
    * The norm is that of the gradient before clipping.
    * $w_k - w_{k-1}$ is that of the steps alone: weight decay, constraints and overwriting by
      the average (`ema_overwrite_frequency`) do not enter the momentum.
    * `weight_decay` is decoupled and multiplied by $\gamma$.
    * It does not run under `tf.distribute`; JAX's `keras.distribution` is fine.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, $c$, the
            largest $\gamma$. Defaults to `1.0`. `optimizer.learning_rate` reads and sets it.
        momentum: Float in [0, 1), $\beta$. Defaults to `0.9`, the paper's.
        f_min: Float, $f^*$. Defaults to `0.0`, the paper's.
        name: String. Defaults to `"ngnm"`.
        **options: `weight_decay`, `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`,
            `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`: as in every Keras optimizer.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range, or an option is unknown.

    Example: $\gamma$ is 1/3, of which the first step does a tenth.

    >>> import keras
    >>> from keras import ops
    >>> from keras_h0h1.optimizers import NGNM
    >>> w, optimizer = keras.Variable([9.0]), NGNM(1.0, momentum=0.9)
    >>> optimizer.apply([2.0 * ops.convert_to_tensor(w)], [w], loss=w[0] * w[0])
    >>> round(float(optimizer.effective_learning_rate), 4), round(float(w.numpy()[0]), 4)
    (0.3333, 8.4)

    References:
        Rustem Islamov, Niccolò Ajroldi, Antonio Orvieto, Aurelien Lucchi, "Enhancing Optimizer
            Stability: Momentum Adaptation of The NGN Step-size", arXiv 2508.15071 (2025), algorithm
            1.
    """

    _arguments = ("learning_rate", "momentum", "f_min")

    def __init__(
        self,
        learning_rate: Base = 1.0,
        momentum: float = 0.9,
        f_min: float = 0.0,
        name: str | None = "ngnm",
        **options: Any,
    ) -> None:
        schedule = NGNLearningRate(learning_rate, f_min)
        super().__init__(HeavyBall(schedule, momentum, **options), name=name)
