"""Gradient descent with Polyak's step size."""

from typing import Any

import keras

from keras_h0h1.optimizers._flat import FlatOptimizer
from keras_h0h1.schedules.based import Base
from keras_h0h1.schedules.polyak import PolyakLearningRate


@keras.saving.register_keras_serializable("keras_h0h1")
class PolyakSGD(FlatOptimizer):
    r"""Gradient descent with the stochastic Polyak step size, SPS_max.

    $$w_{k+1} = w_k - \eta_k g_k, \qquad \eta_k = s \min\left(
    \frac{f_k - f^*}{c\, s^2 \|g_k\|^2 + \epsilon}, \eta_\max\right)$$

    with the loss $f_k$ and the gradient $g_k$ of batch $k$. For a convex loss whose minimum on
    every batch is $f^*$ no step leads away from a minimiser, and no rate has to be tuned.

    * `f_min` above the true infimum makes steps too long. Where the loss has a floor that is not
      known (label smoothing, noisy labels, weight regularisers) the steps are too long as well,
      and `max_learning_rate` has to bound them.
    * The rule has no momentum: for that see `ALIG`, `MoMo`.
    * The norm is that of the gradient before clipping.
    * With `variant="sps"` a loss below `f_min` gives a negative step in optax, which moves
      uphill. Here such a step has the last usable rate; `"sps+"` does not move there at all.
    * `weight_decay` is decoupled and multiplied by the step, as everywhere in Keras. optax's
      `polyak_sgd` has none; chained with `add_decayed_weights` its norm would be that of the
      decayed gradient.
    * `scaling` acts as in optax 0.2.8, which multiplies the gradient before it takes the norm:
      where the cap does not bind the step is $(f - f^*) / (s \|g\|^2)$.
    * It does not run under `tf.distribute`; JAX's `keras.distribution` is fine.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.

    Args:
        max_learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, the largest
            step. Defaults to `1.0`, as in optax. `optimizer.learning_rate` reads and sets it.
        scaling: Float > 0, $s$. Defaults to `1.0`.
        f_min: Float, $f^*$, a lower bound of the loss. Defaults to `0.0`.
        eps: Float >= 0, $\epsilon$. Defaults to `0.0`.
        variant: `"sps"` or `"sps+"`, which takes a negative $f - f^*$ for 0. Defaults to `"sps"`.
        c: Float > 0. Defaults to `1.0`, optax's; the paper has 0.5 for convex and 0.2 for deep
            problems, where it needs a cap.
        name: String. Defaults to `"polyak_sgd"`.
        **options: `weight_decay`, `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`,
            `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`: as in every Keras optimizer.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range, or an option is unknown.

    Example: on $f(w) = w^2$ the step halves the distance, from wherever it starts.

    >>> import keras
    >>> from keras import ops
    >>> from keras_h0h1.optimizers import PolyakSGD
    >>> w = keras.Variable([8.0])
    >>> optimizer = PolyakSGD()
    >>> for _ in range(3):
    ...     optimizer.apply([2.0 * ops.convert_to_tensor(w)], [w], loss=w[0] * w[0])
    >>> float(w.numpy()[0])
    1.0

    References:
        Nicolas Loizou, Sharan Vaswani, Issam Laradji, Simon Lacoste-Julien, "Stochastic Polyak
            Step-size for SGD: An Adaptive Learning Rate for Fast Convergence", arXiv 2002.10542
            (2020).
        Guillaume Garrigos, Robert Gower, Fabian Schaipp, "Function Value Learning: Adaptive
            Learning Rates Based on the Polyak Stepsize and Function Splitting in ERM", arXiv
            2307.14528 (2023): `"sps+"`.
    """

    _arguments = ("max_learning_rate", "scaling", "f_min", "eps", "variant", "c")

    def __init__(
        self,
        max_learning_rate: Base = 1.0,
        scaling: float = 1.0,
        f_min: float = 0.0,
        eps: float = 0.0,
        variant: str = "sps",
        c: float = 1.0,
        name: str | None = "polyak_sgd",
        **options: Any,
    ) -> None:
        schedule = PolyakLearningRate(max_learning_rate, scaling, f_min, eps, variant, c)
        super().__init__(keras.optimizers.SGD(schedule, **options), name=name)
