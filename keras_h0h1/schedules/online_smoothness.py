"""The sharp rule with constants that are estimated while training."""

import math

import keras

from keras_h0h1 import online_constants
from keras_h0h1._types import Config, Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules.base import LossDrivenSchedule, State

AUTO = "auto"


@keras.saving.register_keras_serializable("keras_h0h1")
class OnlineSmoothnessLearningRate(LossDrivenSchedule):
    r"""Learning rate from smoothness constants that are estimated from the loss and the gradient.

    No constant is needed: not a base rate, not $H_0$, not $H_1$. The estimates follow from the
    self-bound $G^2 \le 2 H_0 \Delta + H_1 \Delta^2$ of each batch, with $\Delta = \max(f - f^*, 0)$
    and the norm $G$ of the gradient; the rate is

    $$\eta = \frac{1}{2 \hat H_0 + \hat H_1 \Delta} \le \frac{\Delta}{G^2},$$

    at most Polyak's step. On convex functions that share a minimiser, with `f_star` the minimum of
    each (interpolation), gradient descent with it never moves away from that minimiser, whatever
    the batch. **Where a batch cannot reach `f_star`, the rate does not fall to 0 and nothing is
    proved**: the weights move around the minimum. `f_star` should then be close to the loss that
    can be reached.

    Use it inside `keras_h0h1.LossAware` with `keras.optimizers.SGD`. For training on the whole data
    set at once, `keras_h0h1.AdaptiveGD()` compares the losses before and after each step as well,
    takes back what raised the loss, and needs far fewer steps.

    The estimates are the variables `H0` and `H1` of the optimizer's `rate_states`: curvature seen
    lately along the way, not bounds that hold everywhere.

    Args:
        H0: `"auto"`, or a float >= 0 that is taken as it is. Defaults to `"auto"`.
        H1: Likewise. One of the two must be `"auto"`.
        f_star: Float, the infimum of the loss of every batch. Defaults to `0.0`.
        rho: Float > 0, the exponent of the gap. Defaults to `1.0`.
        safeguard: Boolean, whether steps that raised the loss are taken back. Defaults to `False`:
            it needs an optimizer that can restore its weights, and `AdaptiveGD` alone can.

    Raises:
        TypeError: If a constant is neither a number nor `"auto"`, or `safeguard` not a boolean.
        ValueError: If a number is NaN, infinite or out of range, or neither constant is `"auto"`.
            Also when it is put into an optimizer, if `safeguard` is `True` and the optimizer is
            not `AdaptiveGD`'s.

    Example: $f = w^2 / 2$ has $\Delta / G^2 = 1/2$ everywhere. The first rate is exactly that.

    >>> import keras
    >>> from keras_h0h1 import LossAware
    >>> from keras_h0h1.schedules.online_smoothness import OnlineSmoothnessLearningRate
    >>> optimizer = LossAware(keras.optimizers.SGD(OnlineSmoothnessLearningRate()))
    >>> weight = keras.Variable([4.0])
    >>> for _ in range(2):
    ...     w = keras.ops.convert_to_tensor(weight)
    ...     optimizer.apply([w], [weight], loss=0.5 * w[0] ** 2)
    ...     print(round(float(optimizer.effective_learning_rate), 4), float(weight[0]))
    0.5 2.0
    0.5 1.0

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025).
        Nicolas Loizou, Sharan Vaswani, Issam Laradji, Simon Lacoste-Julien, "Stochastic Polyak
            Step-size for SGD: An Adaptive Learning Rate for Fast Convergence", arXiv 2002.10542
            (2020).
    """

    needs_gradient_norm = True

    def __init__(
        self,
        H0: float | str = AUTO,
        H1: float | str = AUTO,
        f_star: float = 0.0,
        rho: float = 1.0,
        safeguard: bool = False,
    ) -> None:
        super().__init__()
        self.H0, self.H1 = _number_or_auto("H0", H0), _number_or_auto("H1", H1)
        if AUTO not in (self.H0, self.H1):
            raise ValueError(
                "With a number for both constants there is nothing to estimate: use "
                f"`SmoothnessLearningRate`. Received: H0={H0!r}, H1={H1!r}"
            )
        self.f_star = check_number("f_star", f_star)
        self.rho = check_number("rho", rho, low=0.0, strict=True)
        if not isinstance(safeguard, bool):
            raise TypeError(f"`safeguard` must be a boolean. Received: safeguard={safeguard!r}")
        self.safeguard = safeguard

    @property
    def judges_non_finite(self) -> bool:  # type: ignore[override]
        # A step that ended in a loss or gradient that is not finite is taken back like any other.
        return self.safeguard

    def check_optimizer(self, optimizer: keras.optimizers.Optimizer) -> None:
        if self.safeguard and not getattr(optimizer, "takes_steps_back", False):
            raise ValueError(
                "`safeguard=True` needs an optimizer that can take a step back: use "
                "`AdaptiveGD(H0='auto', H1='auto')`, or `safeguard=False` in any other. "
                f"Received: optimizer={optimizer!r}"
            )

    def constants(self) -> dict[str, float]:
        numbers = {"f_star": self.f_star, "rho": self.rho}
        return numbers | {k: v for k, v in (("H0", self.H0), ("H1", self.H1)) if v != AUTO}

    def initial_state(self) -> dict[str, float]:
        return online_constants.initial_state(self.H0, self.H1, self.safeguard)

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        return online_constants.advance(
            {name: state[name] for name in online_constants.STATE},
            loss,
            gradient_norm,
            self.f_star,
            self.rho,
            free=(self.H0 == AUTO, self.H1 == AUTO),
            safeguard=self.safeguard,
        )

    def rate(self, step: Tensor, state: State) -> Tensor:
        return state["rate"]

    # No number is the base of this rate, so neither is there a factor.
    def base_rate(self, step: Tensor, state: State) -> Tensor:
        return math.nan

    def factor(self, state: State) -> Tensor:
        return state["rate"] * math.nan

    def get_config(self) -> Config:
        return {
            "H0": self.H0,
            "H1": self.H1,
            "f_star": self.f_star,
            "rho": self.rho,
            "safeguard": self.safeguard,
        }


def _number_or_auto(name: str, value) -> float | str:
    if isinstance(value, str):
        if value != AUTO:
            raise TypeError(f'`{name}` must be "auto" or a real number. Received: {name}={value!r}')
        return value
    return check_number(name, value, low=0.0)
