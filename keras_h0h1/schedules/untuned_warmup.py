"""Warm-ups whose length follows from Adam's `beta_2`: two untuned ones, and RAdam's."""

import keras

from keras_h0h1 import warmup_factors
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.schedules._multiplied import MultipliedSchedule, update_number

_INSTEAD = "Put this schedule inside: `LossAdaptiveLearningRate({}(1e-3), C=4.0)`."


class _UntunedWarmup(MultipliedSchedule):
    """A factor that depends on `beta_2` alone."""

    def __init__(
        self,
        base: float | keras.optimizers.schedules.LearningRateSchedule,
        beta_2: float = 0.999,
        steps_per_update: int = 1,
    ) -> None:
        super().__init__(base, _INSTEAD.format(type(self).__name__))
        self.beta_2 = check_number("beta_2", beta_2, low=0.0, strict=True)
        if self.beta_2 >= 1.0:
            raise ValueError(
                f"`beta_2` must be < 1, or the warm-up never ends. Received: beta_2={beta_2!r}"
            )
        self.steps_per_update = check_integer("steps_per_update", steps_per_update, low=1)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        own = {"beta_2": self.beta_2, "steps_per_update": self.steps_per_update}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("keras_h0h1")
class UntunedLinearWarmup(_UntunedWarmup):
    r"""Linear warm-up over $2 / (1 - \beta_2)$ updates, on any base rate.

    $$\eta_k = \eta_\text{base}(k) \, \min\big(1, (1 - \beta_2)(k + 1) / 2\big)$$

    with $k$ the updates taken so far: the first has the rate $\eta_\text{base} (1 - \beta_2) / 2$,
    not 0. With $\beta_2 = 0.999$ the warm-up takes 2,000 updates, with 0.95 forty. Its authors
    found it as good as RAdam on the problems that they ran Adam on.

    Args:
        base: Float or `keras.optimizers.schedules.LearningRateSchedule`: the rate to warm up to.
        beta_2: Float in (0, 1), that of the Adam optimizer. Defaults to `0.999`, Keras' own.
        steps_per_update: Integer, the optimizer's `gradient_accumulation_steps`. Keras counts
            micro-batches, the warm-up updates. Defaults to `1`.

    Raises:
        TypeError: If `base` is neither, or is driven by the loss.
        ValueError: If a number is out of range.

    References:
        Jerry Ma, Denis Yarats, "On the adequacy of untuned warmup for adaptive optimization",
            arXiv 1910.04209 (2019).

    Example:

    >>> from keras_h0h1.schedules import UntunedLinearWarmup
    >>> schedule = UntunedLinearWarmup(1.0, beta_2=0.75)
    >>> [float(schedule(k)) for k in (0, 3, 7, 100)]
    [0.125, 0.5, 1.0, 1.0]
    """

    def multiplier(self, step: Tensor) -> Tensor:
        t = update_number(step, self.steps_per_update)
        return warmup_factors.untuned_linear(t, self.beta_2)


@keras.saving.register_keras_serializable("keras_h0h1")
class UntunedExponentialWarmup(_UntunedWarmup):
    r"""Exponential warm-up with time constant $1 / (1 - \beta_2)$, on any base rate.

    $$\eta_k = \eta_\text{base}(k) \, \big(1 - e^{-(1 - \beta_2)(k + 1)}\big)$$

    with $k$ the updates taken so far: the first has a rate above 0.

    Args:
        base: Float or `keras.optimizers.schedules.LearningRateSchedule`: the rate to warm up to.
        beta_2: Float in (0, 1), that of the Adam optimizer. Defaults to `0.999`, Keras' own.
        steps_per_update: Integer, the optimizer's `gradient_accumulation_steps`. Defaults to `1`.

    Raises:
        TypeError: If `base` is neither, or is driven by the loss.
        ValueError: If a number is out of range.

    References:
        Jerry Ma, Denis Yarats, "On the adequacy of untuned warmup for adaptive optimization",
            arXiv 1910.04209 (2019).

    Example: 63% of the base rate after a thousand updates.

    >>> from keras_h0h1.schedules import UntunedExponentialWarmup
    >>> round(float(UntunedExponentialWarmup(1.0)(999)), 4)
    0.6321
    """

    def multiplier(self, step: Tensor) -> Tensor:
        t = update_number(step, self.steps_per_update)
        return warmup_factors.untuned_exponential(t, self.beta_2)


@keras.saving.register_keras_serializable("keras_h0h1")
class RectifiedWarmup(_UntunedWarmup):
    r"""RAdam's rectification as a factor on any base rate.

    $$\eta_k = \eta_\text{base}(k) \, r_{k+1}, \qquad
    r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\,\rho_\infty}
                     {(\rho_\infty - 4)(\rho_\infty - 2)\,\rho_t}}, \qquad
    \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \quad
    \rho_\infty = \frac{2}{1 - \beta_2} - 1$$

    `keras.optimizers.Adam(RectifiedWarmup(1e-3))` is RAdam from the update on from which
    $\rho_t > 5$, the sixth with $\beta_2 = 0.999$. In the updates before RAdam drops Adam's
    denominator, which a rate cannot do: here the factor is that of $\rho_t = 5$, which is 0.017
    with $\beta_2 = 0.999$. (`torch.optim.RAdam` and the authors' code change over at 5 as well,
    the paper at 4.)

    Args:
        base: Float or `keras.optimizers.schedules.LearningRateSchedule`: the rate to warm up to.
        beta_2: Float in (2/3, 1), that of the Adam optimizer. Defaults to `0.999`, Keras' own.
            RAdam with a smaller one never uses the denominator at all.
        steps_per_update: Integer, the optimizer's `gradient_accumulation_steps`. Defaults to `1`.

    Raises:
        TypeError: If `base` is neither, or is driven by the loss.
        ValueError: If a number is out of range.

    References:
        Liyuan Liu, Haoming Jiang, Pengcheng He, Weizhu Chen, Xiaodong Liu, Jianfeng Gao, Jiawei
            Han, "On the Variance of the Adaptive Learning Rate and Beyond", arXiv 1908.03265
            (2019).

    Example:

    >>> from keras_h0h1.schedules import RectifiedWarmup
    >>> schedule = RectifiedWarmup(1.0)
    >>> [round(float(schedule(k)), 4) for k in (0, 5, 999, 9999)]
    [0.0174, 0.0258, 0.6453, 0.9998]
    """

    def __init__(
        self,
        base: float | keras.optimizers.schedules.LearningRateSchedule,
        beta_2: float = 0.999,
        steps_per_update: int = 1,
    ) -> None:
        super().__init__(base, beta_2, steps_per_update)
        if self.beta_2 <= 2.0 / 3.0:
            raise ValueError(
                "`beta_2` must be > 2/3: with a smaller one RAdam rectifies nothing. "
                f"Received: beta_2={beta_2!r}"
            )

    def multiplier(self, step: Tensor) -> Tensor:
        t = update_number(step, self.steps_per_update)
        return warmup_factors.rectification(t, self.beta_2)
