"""The theory's rules: the rate from the constants (H0, H1) and the loss alone."""

import math

import keras

from keras_h0h1 import step_sizes
from keras_h0h1._rules import current_rule
from keras_h0h1._types import Config, Tensor
from keras_h0h1._validation import check_choice, check_number
from keras_h0h1.schedules.base import LossDrivenSchedule, State

RULES = ("alimisis", "sharp", "power", "envelope")


@keras.saving.register_keras_serializable("keras_h0h1")
class SmoothnessLearningRate(LossDrivenSchedule):
    r"""Learning rate given by the smoothness constants of the loss.

    For a loss with $\|\nabla^2 f(w)\| \le H_0 + H_1 \Delta^\rho$, $\Delta = \max(f - f^*, 0)$:

    | `rule` | rate | source |
    |---|---|---|
    | `"alimisis"` | $1 / (10 H_0 + 20 H_1 \Delta)$ | arXiv 2510.03164 |
    | `"sharp"` | $1 / (H_0 + H_1 \Delta^\rho)$ | the descent lemma |
    | `"power"` | $\frac12 \min(1/H_0, \Delta^{-\rho} / (3^\rho H_1))$ | arXiv 2509.07972 |
    | `"envelope"` | $\operatorname{artanh}(x) / (\sqrt{H_1} G)$ | the descent lemma, exactly |

    where $x = \sqrt{H_1} G / (H_0 + H_1 \Delta)$ and $G$ is the norm of the gradient: `"envelope"`
    is the longest safe step when both the loss and $G$ are known.

    Use it inside `keras_h0h1.LossAware` with an optimizer of your choice; with plain gradient
    descent the pair is `keras_h0h1.AdaptiveGD`. The constants are those of the *whole* loss as a
    function of all weights; the rules are proved for gradient descent without momentum. To put
    a loss-driven factor on a tuned rate instead, see `LossAdaptiveLearningRate`.

    Before the first loss was seen the rate reads as that of a zero gap, or 0 where `H0` is 0.

    Args:
        H0: Float >= 0, the curvature at the minimum.
        H1: Float >= 0, by how much the curvature may grow per unit of loss. One of `H0`, `H1`
            must be positive.
        f_star: Float, the loss's infimum. Defaults to `0.0`.
        rho: Float > 0. Defaults to `1.0`. `"alimisis"` and `"envelope"` are proved for 1 alone.
        rule: One of the four above. Defaults to `"alimisis"`, the rule with published rates;
            `"sharp"` needs about a tenth of its steps. `"paper"` is an earlier name of
            `"alimisis"`, and deprecated.

    Raises:
        TypeError: If a constant is not a number.
        ValueError: If a constant is NaN, infinite or out of range, both are 0, `rule` is unknown
            or does not allow this `rho`.

    Example:

    >>> from keras_h0h1 import LossAware, SmoothnessLearningRate
    >>> import keras
    >>> optimizer = LossAware(keras.optimizers.SGD(SmoothnessLearningRate(1.0, 1.0, rule="sharp")))
    >>> weight = keras.Variable([1.0])
    >>> optimizer.apply([keras.ops.ones((1,))], [weight], loss=3.0)
    >>> float(optimizer.effective_learning_rate)
    0.25

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025).
        Yuxing Liu, Yuze Ge, Rui Pan, An Kang, Tong Zhang, "Theoretical Analysis on how
            Learning Rate Warmup Accelerates Convergence", arXiv 2509.07972 (2025).
    """

    def __init__(
        self,
        H0: float,
        H1: float,
        f_star: float = 0.0,
        rho: float = 1.0,
        rule: str = "alimisis",
    ) -> None:
        super().__init__()
        self.H0 = check_number("H0", H0, low=0.0)
        self.H1 = check_number("H1", H1, low=0.0)
        if self.H0 == 0.0 and self.H1 == 0.0:
            raise ValueError(
                "`H0` and `H1` must not both be 0: the loss would have no curvature and the step "
                f"no bound. Received: H0={H0!r}, H1={H1!r}"
            )
        self.f_star = check_number("f_star", f_star)
        self.rho = check_number("rho", rho, low=0.0, strict=True)
        self.rule = check_choice("rule", current_rule("rule", rule), RULES)
        if self.rule in ("alimisis", "envelope") and self.rho != 1.0:
            raise ValueError(
                f"`rule={self.rule!r}` is proved for `rho=1` alone; use 'sharp' or 'power' for "
                f"other exponents. Received: rho={rho!r}"
            )

    def constants(self) -> dict[str, float]:
        numbers = {"H0": self.H0, "H1": self.H1, "f_star": self.f_star, "rho": self.rho}
        if self.rule == "alimisis":
            numbers |= {"10 * H0": 10.0 * self.H0, "20 * H1": 20.0 * self.H1}
        if self.rule == "power" and self.H1 > 0.0:
            try:
                numbers["3**rho * H1"] = 3.0**self.rho * self.H1
            except OverflowError:
                numbers["3**rho * H1"] = math.inf
        return numbers

    @property
    def needs_gradient_norm(self) -> bool:  # type: ignore[override]
        return self.rule == "envelope"

    def _rate(self, loss, gradient_norm):
        constants = {"H0": self.H0, "H1": self.H1, "f_star": self.f_star}
        if self.rule == "alimisis":
            return step_sizes.alimisis(loss, **constants)
        if self.rule == "sharp":
            return step_sizes.sharp(loss, **constants, rho=self.rho)
        if self.rule == "power":
            return step_sizes.power(loss, **constants, rho=self.rho)
        return step_sizes.envelope(loss, gradient_norm, **constants)

    def _peak(self) -> float:
        """The rate at the minimum; every rate seen in training is at most this."""
        return float(self._rate(self.f_star, 0.0))

    def initial_state(self) -> dict[str, float]:
        return {"rate": self._peak()}

    def update(self, state: State, loss: Tensor, gradient_norm: Tensor | None = None) -> State:
        return {"rate": self._rate(loss, gradient_norm)}

    def base_rate(self, step: Tensor, state: State) -> Tensor:
        # With H0 = 0 the rate grows without bound near the minimum: no number is its base.
        return self._peak() if self.H0 > 0.0 else math.nan

    def factor(self, state: State) -> Tensor:
        return state["rate"] / self._peak() if self.H0 > 0.0 else state["rate"] * math.nan

    def rate(self, step: Tensor, state: State) -> Tensor:
        return state["rate"]

    def get_config(self) -> Config:
        return {
            "H0": self.H0,
            "H1": self.H1,
            "f_star": self.f_star,
            "rho": self.rho,
            "rule": self.rule,
        }
