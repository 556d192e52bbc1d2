"""The rule for steps of a given norm: it warms up and decays."""

import keras
from keras import ops

from keras_h0h1 import polyak
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules.base import State
from keras_h0h1.schedules.based import Base, BasedSchedule


@keras.saving.register_keras_serializable("keras_h0h1")
class NormConstrainedLearningRate(BasedSchedule):
    r"""Learning rate that rises until the loss has fallen to a given gap, and falls afterwards.

    $$\eta(\Delta) = \frac{\Delta}{K_0 + K_1 \Delta + K_2 \Delta^2}, \qquad
    \Delta = \max(f - f^*, \epsilon)$$

    for optimizers whose step has a given norm whatever the gradient (`keras.optimizers.Lion`,
    `Muon`, sign descent): with the gradient's length gone, the step has to shrink by itself as
    the minimum comes near. The three constants follow from four numbers that users know: the
    peak rate, the gap $\Delta_\star$ where it is reached, and the gap $\Delta_0$ and the rate at
    the start; see `keras_h0h1.polyak.norm_constrained_constants`. Put it into an optimizer and
    wrap that in `keras_h0h1.LossAware`.

    * It decays with the *gap*, so `f_star` matters: if it is too low, the decay never comes; if
      it is too high, a batch whose loss is below `f_star` gets nearly no step.
    * The rate follows the loss of each batch, up and down. The paper uses the warm-up half, and
      continues with a cosine decay by step once the peak is reached: for that give a decay schedule
      as `peak`, and `decay=False`, with which the factor stays 1 once the gap is below
      $\Delta_\star$ (it falls again if the loss rises above).
    * With `Adam` nothing is proved; its step has nearly a given norm.

    Args:
        peak: Float or `keras.optimizers.schedules.LearningRateSchedule`, the largest rate, or the
            schedule whose rate is multiplied by $\eta / \max \eta$. A float can be set later, as
            `optimizer.learning_rate = value`.
        peak_gap: Float > 0, $\Delta_\star$, in units of the loss: the gap where the rate is
            `peak`. `keras_h0h1.polyak.norm_constrained_peak_gap` finds the one that warms up
            most like a straight line, as the authors do.
        first_gap: Float > `peak_gap`, $\Delta_0$, or `None`: the gap of the first finite loss.
            Defaults to `None`. Where that loss is not above `peak_gap`, the factor is 1 for gaps
            above `peak_gap` and there is no warm-up.
        first_factor: Float in (0, 1], the rate at $\Delta_0$ over `peak`. Defaults to `0.01`.
        f_star: Float, the loss's infimum. Defaults to `0.0`.
        eps: Float > 0, $\epsilon$, the smallest gap. Defaults to `1e-8`.
        decay: Boolean. `False` leaves out the decay. Defaults to `True`, the formula above.

    Raises:
        TypeError: If an argument is not of the stated type.
        ValueError: If a number is NaN, infinite or outside its range.

    Example: from a tenth of the peak at a loss of 10 to the peak at 4, and down again.

    >>> import keras
    >>> from keras_h0h1 import LossAware
    >>> from keras_h0h1.schedules import NormConstrainedLearningRate
    >>> schedule = NormConstrainedLearningRate(1e-3, peak_gap=4.0, first_factor=0.1)
    >>> optimizer = LossAware(keras.optimizers.Lion(schedule))
    >>> weight = keras.Variable([1.0])
    >>> for loss in (10.0, 4.0, 1.0):
    ...     optimizer.apply([keras.ops.ones((1,))], [weight], loss=loss)
    ...     print(round(float(optimizer.effective_learning_rate), 6))
    0.0001
    0.001
    4.3e-05

    References:
        Artem Riabinin, Andrey Veprikov, Arman Bolatov, Martin Takáč, Aleksandr Beznosikov, "Where
            Does Warm-Up Come From? Adaptive Scheduling for Norm-Constrained Optimizers", arXiv
            2602.05813 (2026).
    """

    def __init__(
        self,
        peak: Base,
        peak_gap: float,
        first_gap: float | None = None,
        first_factor: float = 0.01,
        f_star: float = 0.0,
        eps: float = 1e-8,
        decay: bool = True,
    ) -> None:
        super().__init__(peak, "peak")
        self.peak_gap = check_number("peak_gap", peak_gap, low=0.0, strict=True)
        if first_gap is not None:
            first_gap = check_number("first_gap", first_gap, low=0.0)
            if first_gap <= self.peak_gap:
                raise ValueError(
                    "`first_gap` must be greater than `peak_gap`, the gap where the rate peaks. "
                    f"Received: first_gap={first_gap!r}, peak_gap={peak_gap!r}"
                )
        self.first_gap = first_gap
        self.first_factor = check_number(
            "first_factor", first_factor, low=0.0, high=1.0, strict=True
        )
        # Not `f_star`: below it this rule's rate is near 0, unlike what LearningRateLogger says.
        self._f_star = check_number("f_star", f_star)
        self.eps = check_number("eps", eps, low=0.0, strict=True)
        if not isinstance(decay, bool):
            raise TypeError(f"`decay` must be a boolean. Received: decay={decay!r}")
        self.decay = decay

    def initial_state(self) -> dict[str, float]:
        state = super().initial_state()
        if self.first_gap is None:
            # No gap is 0: `eps` is the smallest.
            state["first_gap"] = 0.0
        return state

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        height = ops.maximum(loss - self._f_star, self.eps)
        first, new = self.first_gap, {}
        if first is None:
            first = ops.where(state["first_gap"] > 0.0, state["first_gap"], height)
            new["first_gap"] = first
            # A start below the peak has no warm-up; any other first gap serves the formula.
            above = first > self.peak_gap
            first = ops.where(above, first, 2.0 * self.peak_gap * ops.ones_like(first))
        factor = polyak.norm_constrained_factor(
            loss, first, self.peak_gap, self.first_factor, self._f_star, self.eps
        )
        one = ops.ones_like(factor)
        if self.first_gap is None:
            warms = ops.logical_or(above, height <= self.peak_gap)
            factor = ops.where(warms, factor, one)
        if not self.decay:
            factor = ops.where(height <= self.peak_gap, one, factor)
        return {"factor": factor, **new}

    def own_config(self) -> dict:
        names = ("peak_gap", "first_gap", "first_factor", "eps", "decay")
        return {name: getattr(self, name) for name in names} | {"f_star": self._f_star}
