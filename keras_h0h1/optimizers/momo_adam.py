"""MoMo-Adam: Adam with the step size of MoMo."""

from typing import Any, ClassVar

import keras

from keras_h0h1.optimizers._flat import FlatOptimizer
from keras_h0h1.optimizers._products import MomentumModel
from keras_h0h1.schedules.based import Base
from keras_h0h1.schedules.momentum_model import MomentumModelLearningRate, check_beta


@keras.saving.register_keras_serializable("keras_h0h1")
class MoMoAdam(FlatOptimizer):
    r"""Adam(W) whose step size follows from a model of the loss.

    $$d_k = \beta_1 d_{k-1} + (1 - \beta_1) g_k, \quad
    v_k = \beta_2 v_{k-1} + (1 - \beta_2) g_k^2, \quad
    D_k = \epsilon + \sqrt{v_k / (1 - \beta_2^k)}, \quad \kappa_k = 1 - \beta_1^k$$

    $$\tau_k = \min\left(\frac{\alpha}{\kappa_k},
    \frac{[(1 + \alpha\lambda)(\bar f_k - \kappa_k f_* - \gamma_k) + \langle d_k, w_k \rangle]_+}
    {\sum_i d_{k,i}^2 / D_{k,i}}\right), \qquad
    w_{k+1} = \frac{w_k}{1 + \alpha\lambda} - \tau_k \frac{d_k}{D_k}$$

    where $\bar f$ and $\gamma$ are the averages, with the weights of $d$, of the losses and of
    $\langle g, w \rangle$. Where the cap binds it is Adam with decoupled weight decay.

    * With `lower_bound` far below what the loss can reach the step is just Adam's. Then try
      `adapt_lower_bound=True`, which estimates the bound in training and never goes below
      `lower_bound`.
    * `weight_decay` is $\lambda$ of the formula: the division by $1 + \alpha\lambda$ follows
      optax, which shrinks $w_k$ alone; the authors' code shrinks the result of the step. It uses
      $\alpha$, not $\tau$. Variables excluded from weight decay are not shrunk; $\tau$ is
      computed as if they were.
    * The gradient is the clipped one everywhere, as in `optax.chain(clip, momo_adam)`.
    * A step whose loss or gradient is not finite is not taken: no average moves, no weight.
    * What the averages will be is kept from the inner products to the step: two or three copies of
      the weights for that time.
    * It does not run under `tf.distribute`; JAX's `keras.distribution` is fine.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.
    `optimizer.effective_learning_rate` is $\kappa \tau$, which multiplies the corrected average as
    in Adam and is at most $\alpha$.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, $\alpha$.
            Defaults to `0.01`, as in optax. `optimizer.learning_rate` reads and sets it.
        beta_1: Float in [0, 1). Defaults to `0.9`.
        beta_2: Float in [0, 1). Defaults to `0.999`.
        epsilon: Float >= 0. Defaults to `1e-8`.
        lower_bound: Float, a lower bound of the loss. Defaults to `0.0`.
        adapt_lower_bound: Boolean. Defaults to `False`. The authors' `use_fstar`.
        name: String. Defaults to `"momo_adam"`.
        **options: `weight_decay`, `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`,
            `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`: as in every Keras optimizer.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range, or an option is unknown.

    Example: on $f(w) = w^2$ Adam's first step has the length of the rate, 10, and would end at
    -2. The model, like Polyak's step, goes half of the way to the minimum.

    >>> import keras
    >>> from keras import ops
    >>> from keras_h0h1.optimizers import MoMoAdam
    >>> w, optimizer = keras.Variable([8.0]), MoMoAdam(learning_rate=10.0)
    >>> optimizer.apply([2.0 * ops.convert_to_tensor(w)], [w], loss=w[0] * w[0])
    >>> round(float(optimizer.effective_learning_rate), 3), round(float(w.numpy()[0]), 3)
    (4.0, 4.0)

    References:
        Fabian Schaipp, Ruben Ohana, Michael Eickenberg, Aaron Defazio, Robert Gower, "MoMo:
            Momentum Models for Adaptive Learning Rates", arXiv 2305.07583 (2023);
            `optax.contrib.momo_adam` 0.2.8.
    """

    _arguments = (
        "learning_rate", "beta_1", "beta_2", "epsilon", "lower_bound", "adapt_lower_bound",
    )  # fmt: skip
    _renamed: ClassVar[dict[str, str]] = {"beta_1": "beta"}

    def __init__(
        self,
        learning_rate: Base = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        lower_bound: float = 0.0,
        adapt_lower_bound: bool = False,
        name: str | None = "momo_adam",
        **options: Any,
    ) -> None:
        schedule = MomentumModelLearningRate(
            learning_rate, check_beta("beta_1", beta_1), True, lower_bound, adapt_lower_bound
        )
        super().__init__(MomentumModel(schedule, beta_2, epsilon, **options), name=name)
