"""ALI-G: Polyak's step size with Nesterov's momentum."""

from typing import Any

import keras

from keras_h0h1._validation import check_number
from keras_h0h1.optimizers._flat import FlatOptimizer
from keras_h0h1.schedules.based import Base
from keras_h0h1.schedules.polyak import PolyakLearningRate


@keras.saving.register_keras_serializable("keras_h0h1")
class ALIG(FlatOptimizer):
    r"""Adaptive learning rates for interpolation with gradients, ALI-G.

    $$\eta_k = \min\left(\frac{\max(f_k - f^*, 0)}{\|g_k\|^2 + \delta}, \eta_\max\right), \qquad
    v_{k+1} = \mu v_k - \eta_k g_k, \qquad w_{k+1} = w_k - \eta_k g_k + \mu v_{k+1}$$

    with the loss $f_k$ and the gradient $g_k$ of batch $k$; without momentum it is `PolyakSGD`
    with a $\delta$. Made for networks that can fit every example, so that $f^* = 0$.

    * The authors put a bound on the norm of the weights (in Keras:
      `kernel_constraint=keras.constraints.MaxNorm(...)`) in place of weight decay or an L2
      penalty, since a loss with a penalty has an infimum above 0. `weight_decay`, if given, is
      decoupled and multiplied by the step.
    * The norm is that of the gradient before clipping.
    * A loss below `f_min` gives no step; in the authors' code a negative one.
    * It does not run under `tf.distribute`; JAX's `keras.distribution` is fine.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.

    Args:
        max_learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, the largest
            step, the one number to tune. Defaults to `0.1`. `optimizer.learning_rate` reads and
            sets it.
        momentum: Float in [0, 1], $\mu$. Defaults to `0.0`, the authors' code's; they train
            networks with 0.9.
        eps: Float >= 0, $\delta$. Defaults to `1e-5`, the authors' code's.
        f_min: Float, $f^*$, a lower bound of the loss. Defaults to `0.0`, the paper's.
        name: String. Defaults to `"alig"`.
        **options: `weight_decay`, `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`,
            `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`: as in every Keras optimizer.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range, or an option is unknown.

    Example: on $f(w) = w^2$ the step is 1/4, and the momentum carries the weight further.

    >>> import keras
    >>> from keras import ops
    >>> from keras_h0h1.optimizers import ALIG
    >>> w = keras.Variable([8.0])
    >>> optimizer = ALIG(max_learning_rate=1.0, momentum=0.5)
    >>> optimizer.apply([2.0 * ops.convert_to_tensor(w)], [w], loss=w[0] * w[0])
    >>> round(float(optimizer.effective_learning_rate), 4), round(float(w.numpy()[0]), 4)
    (0.25, 2.0)

    References:
        Leonard Berrada, Andrew Zisserman, Pawan Kumar, "Training Neural Networks for and by
            Interpolation", arXiv 1906.05661 (2019), and github.com/oval-group/ali-g.
    """

    _arguments = ("max_learning_rate", "momentum", "eps", "f_min")

    def __init__(
        self,
        max_learning_rate: Base = 0.1,
        momentum: float = 0.0,
        eps: float = 1e-5,
        f_min: float = 0.0,
        name: str | None = "alig",
        **options: Any,
    ) -> None:
        schedule = PolyakLearningRate(max_learning_rate, f_min=f_min, eps=eps, variant="sps+")
        momentum = check_number("momentum", momentum, low=0.0, high=1.0)
        inner = keras.optimizers.SGD(schedule, momentum=momentum, nesterov=True, **options)
        super().__init__(inner, name=name)
