"""MoMo: averaged momentum with a Polyak step size for the averaged model."""

from typing import Any

import keras

from keras_h0h1.optimizers._flat import FlatOptimizer
from keras_h0h1.optimizers._products import MomentumModel
from keras_h0h1.schedules.based import Base
from keras_h0h1.schedules.momentum_model import MomentumModelLearningRate


@keras.saving.register_keras_serializable("keras_h0h1")
class MoMo(FlatOptimizer):
    r"""Gradient descent with momentum whose step size follows from a model of the loss.

    $$d_k = \beta d_{k-1} + (1 - \beta) g_k, \qquad
    \tau_k = \min\left(\alpha, \frac{[(1 + \alpha\lambda)(\bar f_k - f_* - \gamma_k) +
    \langle d_k, w_k \rangle]_+}{\|d_k\|^2}\right), \qquad
    w_{k+1} = \frac{w_k}{1 + \alpha\lambda} - \tau_k d_k$$

    where $\bar f$ and $\gamma$ are the averages, with the weights of $d$, of the losses and of
    $\langle g, w \rangle$; all three start at the first batch's value. The averages are a model
    of the loss around $w_k$; the step goes to where it reaches the lower bound $f_*$, and no
    further than $\alpha$ allows. `learning_rate` is best chosen rather large.

    * With `lower_bound` far below what the loss can reach the step is just $\alpha$, so an
      untuned large rate is not safe there (label smoothing, noisy labels). Then try
      `adapt_lower_bound=True`, which estimates the bound in training and never goes below
      `lower_bound`.
    * `weight_decay` is $\lambda$ of the formula: the division by $1 + \alpha\lambda$ follows
      optax, which shrinks $w_k$ alone; the authors' code shrinks the result of the step. It uses
      $\alpha$, not $\tau$. Variables excluded from weight decay are not shrunk; $\tau$ is
      computed as if they were.
    * The gradient is the clipped one everywhere, as in `optax.chain(clip, momo)`.
    * A step whose loss or gradient is not finite is not taken: no average moves, no weight.
    * What the averages will be is kept from the inner products to the step: two or three copies of
      the weights for that time.
    * It does not run under `tf.distribute`; JAX's `keras.distribution` is fine.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.
    `optimizer.effective_learning_rate` is $\tau$.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, $\alpha$.
            Defaults to `1.0`, as in optax. `optimizer.learning_rate` reads and sets it.
        beta: Float in [0, 1), the momentum. Defaults to `0.9`.
        lower_bound: Float, a lower bound of the loss. Defaults to `0.0`.
        adapt_lower_bound: Boolean. Defaults to `False`. The authors' `use_fstar`.
        name: String. Defaults to `"momo"`.
        **options: `weight_decay`, `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`,
            `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`: as in every Keras optimizer.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range, or an option is unknown.

    Example: on $f(w) = w^2$ the first step is Polyak's, 1/4. In the second the averages are still
    mostly those of the start, whose model has its zero where that step has led.

    >>> import keras
    >>> from keras import ops
    >>> from keras_h0h1.optimizers import MoMo
    >>> w, optimizer = keras.Variable([8.0]), MoMo()
    >>> for _ in range(2):
    ...     optimizer.apply([2.0 * ops.convert_to_tensor(w)], [w], loss=w[0] * w[0])
    ...     print(round(float(optimizer.effective_learning_rate), 4), round(float(w.numpy()[0]), 4))
    0.25 4.0
    0.0069 3.8947

    References:
        Fabian Schaipp, Ruben Ohana, Michael Eickenberg, Aaron Defazio, Robert Gower, "MoMo:
            Momentum Models for Adaptive Learning Rates", arXiv 2305.07583 (2023);
            `optax.contrib.momo` 0.2.8.
    """

    _arguments = ("learning_rate", "beta", "lower_bound", "adapt_lower_bound")

    def __init__(
        self,
        learning_rate: Base = 1.0,
        beta: float = 0.9,
        lower_bound: float = 0.0,
        adapt_lower_bound: bool = False,
        name: str | None = "momo",
        **options: Any,
    ) -> None:
        schedule = MomentumModelLearningRate(
            learning_rate, beta, False, lower_bound, adapt_lower_bound
        )
        super().__init__(MomentumModel(schedule, **options), name=name)
