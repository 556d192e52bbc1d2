"""The practical rule: any base schedule, warmed up by the loss itself."""

import keras
from keras import ops

from keras_h0h1 import step_sizes
from keras_h0h1._validation import check_number, check_rate
from keras_h0h1.schedules.base import LossDrivenSchedule, State


@keras.saving.register_keras_serializable("keras_h0h1")
class LossAdaptiveLearningRate(LossDrivenSchedule):
    r"""Learning rate that rises as the loss falls, and needs no warm-up length.

    $$\eta_k = \frac{\eta_\text{base}(k)}{\max\{1, (\Delta_k / C)^\rho\}},
    \qquad \Delta_k = \max(f_k - f^*, 0)$$

    where $f_k$ is the loss of the very batch whose gradient is applied in step $k$. Far above
    the minimum the curvature of the loss is large and the step is short; once the gap is at
    most `C` the factor is exactly 1 and the base schedule is left alone.

    Put it into any Keras optimizer and wrap that in `keras_h0h1.LossAware`, which is how the
    loss gets here.

    Choosing `C`: it is in units of the loss. A language model with a vocabulary of 50,280 words
    starts at a loss of ln 50280 = 10.8, so `C=5` starts at 46% of the base rate. **If the loss
    never falls below `C + f_star`, the factor never reaches 1**: look at it with
    `keras_h0h1.callbacks.LearningRateLogger`.

    Args:
        base: Float or `keras.optimizers.schedules.LearningRateSchedule`: the peak rate, or the
            schedule whose rate is multiplied by the factor. A float can be set later, as
            `optimizer.learning_rate = value`; `ReduceLROnPlateau` and `LearningRateScheduler` do
            so, and the factor stays.
        C: Float > 0, in units of the loss. The gap below which the factor is 1.
        f_star: Float, the loss's infimum or a lower bound on it. Defaults to `0.0`, the paper's
            choice: right for cross-entropy and squared errors that can be driven to zero.
        rho: Float > 0, the exponent of the smoothness condition. Defaults to `1.0`,
            (H0, H1)-smoothness.
        smoothing: `None` or a float in [0, 1): the rate follows the exponential moving average
            $\bar f_k = s \bar f_{k-1} + (1 - s) f_k$ with the start-up bias removed. Defaults to
            `None`, the paper's rule. Worth a try where batches are so small that their losses
            scatter by more than `C`.
        latch: Boolean. With `True` the factor stays 1 for good once it has reached 1. Defaults
            to `False`, the paper's rule.
        min_factor: Float in [0, 1], a floor for the factor. Defaults to `0.0`, no floor.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range.

    Example: half the base rate at twice `C`, all of it at `C` and below.

    >>> import keras
    >>> from keras_h0h1 import LossAdaptiveLearningRate, LossAware
    >>> schedule = LossAdaptiveLearningRate(0.1, C=4.0)
    >>> optimizer = LossAware(keras.optimizers.SGD(schedule))
    >>> weight = keras.Variable([1.0])
    >>> for loss in (8.0, 4.0, 0.5):
    ...     optimizer.apply([keras.ops.ones((1,))], [weight], loss=loss)
    ...     print(round(float(optimizer.effective_learning_rate), 6))
    0.05
    0.1
    0.1

    References:
        F. Alimisis, R. Islamov, A. Lucchi, "Why Do We Need Warm-up? A Theoretical Perspective",
            arXiv 2510.03164 (2025): the rule, with $f^* = 0$ and $\rho = 1$.
        Y. Liu, Y. Ge, R. Pan, A. Kang, T. Zhang, "Theoretical Analysis on how Learning Rate
            Warmup Accelerates Convergence", arXiv 2509.07972 (2025): the exponent $\rho$.
    """

    def __init__(
        self,
        base: float | keras.optimizers.schedules.LearningRateSchedule,
        C: float,
        f_star: float = 0.0,
        rho: float = 1.0,
        smoothing: float | None = None,
        latch: bool = False,
        min_factor: float = 0.0,
    ):
        super().__init__()
        if isinstance(base, LossDrivenSchedule):
            raise TypeError(
                "`base` must not itself be driven by the loss: the two factors would multiply. "
                f"Received: base={base!r}"
            )
        if not isinstance(base, keras.optimizers.schedules.LearningRateSchedule):
            try:
                base = check_number("base", base, low=0.0)
            except TypeError:
                raise TypeError(
                    "`base` must be a float or a "
                    "`keras.optimizers.schedules.LearningRateSchedule`. "
                    f"Received: base={base!r}"
                ) from None
        self.base = base
        self.C = check_number("C", C, low=0.0, strict=True)
        self.f_star = check_number("f_star", f_star)
        self.rho = check_number("rho", rho, low=0.0, strict=True)
        if smoothing is not None:
            smoothing = check_number("smoothing", smoothing, low=0.0)
            if smoothing >= 1.0:
                raise ValueError(
                    "`smoothing` must be < 1, or the average would never move. "
                    f"Received: smoothing={smoothing!r}"
                )
        self.smoothing = smoothing
        if not isinstance(latch, bool):
            raise TypeError(f"`latch` must be a boolean. Received: latch={latch!r}")
        self.latch = latch
        self.min_factor = check_number("min_factor", min_factor, low=0.0, high=1.0)

    def constants(self) -> dict[str, float]:
        numbers = {"C": self.C, "f_star": self.f_star, "rho": self.rho}
        numbers |= {"smoothing": self.smoothing or 0.0, "min_factor": self.min_factor}
        return numbers

    def check_constants(self, dtype: str) -> None:
        super().check_constants(dtype)
        if not isinstance(self.base, keras.optimizers.schedules.LearningRateSchedule):
            check_rate("base", self.base, dtype)

    def copy(self) -> "LossAdaptiveLearningRate":
        duplicate = super().copy()
        duplicate.base = self._current_base()
        return duplicate

    def _current_base(self):
        """The base as it is now: a rate may have been set since, and a copy starts from there."""
        scheduled = isinstance(self.base, keras.optimizers.schedules.LearningRateSchedule)
        if scheduled or not self.bound:
            return self.base
        return float(ops.convert_to_numpy(self._variables["base"]))

    def initial_state(self) -> dict[str, float]:
        state = {"factor": 1.0}
        if not isinstance(self.base, keras.optimizers.schedules.LearningRateSchedule):
            state["base"] = self.base
        if self.smoothing is not None:
            state["average"] = 0.0
            # Sum of the average's weights, 1 - s^k: dividing by it removes the start-up bias.
            state["weight"] = 0.0
        if self.latch:
            state["latched"] = 0.0
        return state

    def update(self, state: State, loss, gradient_norm=None) -> State:
        new = {}
        if self.smoothing is not None:
            s = self.smoothing
            new["average"] = s * state["average"] + (1.0 - s) * loss
            new["weight"] = s * state["weight"] + (1.0 - s)
            loss = new["average"] / new["weight"]
        factor = step_sizes.practical_factor(loss, self.C, self.f_star, self.rho)
        if self.min_factor > 0.0:
            factor = ops.maximum(factor, self.min_factor)
        if self.latch:
            reached = ops.cast(factor >= 1.0, factor.dtype)
            new["latched"] = ops.maximum(state["latched"], reached)
            factor = ops.maximum(factor, new["latched"])
        new["factor"] = factor
        return new

    def base_rate(self, step, state: State):
        if "base" in state:
            return state["base"]
        # Keras' schedules answer in float32 whatever floatx says.
        return ops.cast(self.base(step), state["factor"].dtype)

    def get_config(self):
        base = self._current_base()
        if isinstance(base, keras.optimizers.schedules.LearningRateSchedule):
            base = keras.optimizers.schedules.serialize(base)
        return {
            "base": base,
            "C": self.C,
            "f_star": self.f_star,
            "rho": self.rho,
            "smoothing": self.smoothing,
            "latch": self.latch,
            "min_factor": self.min_factor,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config["base"], dict):
            config["base"] = keras.optimizers.schedules.deserialize(config["base"])
        return cls(**config)
