"""Gradient descent with the non-negative Gauss-Newton step size."""

from typing import Any

import keras

from keras_h0h1.optimizers._flat import FlatOptimizer
from keras_h0h1.schedules.based import Base
from keras_h0h1.schedules.ngn import NGNLearningRate


@keras.saving.register_keras_serializable("keras_h0h1")
class NGN(FlatOptimizer):
    r"""Gradient descent with the non-negative Gauss-Newton step size.

    $$w_{k+1} = w_k - \gamma_k g_k, \qquad
    \gamma_k = \frac{c}{1 + c\, \|g_k\|^2 / (2 \Delta_k)}, \qquad \Delta_k = \max(f_k - f^*, 0)$$

    with the loss $f_k$ and the gradient $g_k$ of batch $k$. It is the Gauss-Newton step for
    $\sqrt{f}$, regularised by $c$: about $c$ where the gradient is small beside the loss, about
    $2 \Delta / \|g\|^2$ where it is large, so that a $c$ far too large does not diverge on a
    smooth loss.

    * The loss has to be non-negative, or `f_min` a lower bound of it.
    * The norm is that of the gradient before clipping.
    * `weight_decay` is decoupled and multiplied by the step, as everywhere in Keras.
    * It does not run under `tf.distribute`; JAX's `keras.distribution` is fine.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, $c$, the
            largest step. Defaults to `1.0`. `optimizer.learning_rate` reads and sets it.
        f_min: Float, $f^*$. Defaults to `0.0`, the paper's.
        name: String. Defaults to `"ngn"`.
        **options: `weight_decay`, `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`,
            `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`: as in every Keras optimizer.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range, or an option is unknown.

    Example: on $f(w) = w^2$ the step is 1/3 with $c = 1$ and hardly longer with $c = 1000$.

    >>> import keras
    >>> from keras import ops
    >>> from keras_h0h1.optimizers import NGN
    >>> for c in (1.0, 1000.0):
    ...     w, optimizer = keras.Variable([8.0]), NGN(c)
    ...     optimizer.apply([2.0 * ops.convert_to_tensor(w)], [w], loss=w[0] * w[0])
    ...     print(round(float(optimizer.effective_learning_rate), 4))
    0.3333
    0.4998

    References:
        Antonio Orvieto, Lin Xiao, "An Adaptive Stochastic Gradient Method with Non-negative
            Gauss-Newton Stepsizes", arXiv 2407.04358 (2024).
    """

    _arguments = ("learning_rate", "f_min")

    def __init__(
        self,
        learning_rate: Base = 1.0,
        f_min: float = 0.0,
        name: str | None = "ngn",
        **options: Any,
    ) -> None:
        schedule = NGNLearningRate(learning_rate, f_min)
        super().__init__(keras.optimizers.SGD(schedule, **options), name=name)
