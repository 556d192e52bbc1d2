"""Gradient descent with the step that (H0, H1)-smoothness proves."""

from collections.abc import Sequence
from typing import Self, cast

import keras
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._rules import current_rule
from keras_h0h1._types import Config, Tensor
from keras_h0h1.optimizers._restoring_sgd import RestoringSGD
from keras_h0h1.optimizers.loss_aware import LossAware
from keras_h0h1.schedules import OnlineSmoothnessLearningRate, SmoothnessLearningRate

# What moves the weights otherwise than by the rate times the gradient of the loss, or lets a step
# that is taken back leave a trace.
_REFUSED = {
    "momentum": "the step is not along the gradient",
    "weight_decay": "the decay is not part of the loss; use a kernel regularizer, which is",
    "clipnorm": "the step is not the rate times the gradient, and is short enough without",
    "clipvalue": "the step is not the rate times the gradient, and is short enough without",
    "global_clipnorm": "the step is not the rate times the gradient, and is short enough without",
    "use_ema": "the average would contain steps that are taken back",
}


@keras.saving.register_keras_serializable("keras_h0h1")
class AdaptiveGD(LossAware):
    r"""Gradient descent whose step follows the loss: no learning rate to set.

    $$w_{k+1} = w_k - \eta_k \nabla f(w_k), \qquad
    \eta_k = \frac{1}{10 H_0 + 20 H_1 \Delta_k}, \qquad \Delta_k = \max(f(w_k) - f^*, 0)$$

    with the default `rule="alimisis"`; the other rules are those of
    `keras_h0h1.SmoothnessLearningRate`. If $\|\nabla^2 f\| \le H_0 + H_1 (f - f^*)$, each step
    decreases the loss, whatever the starting point; a fixed step would have to be as short as
    the curvature at the *start* demands. On mini-batches the rule is proved for interpolated
    problems, where every batch has the same minimiser.

    **Without any constant**, `AdaptiveGD()` estimates $H_0$ and $H_1$ while it trains, from the
    loss and the norm of the gradient alone, and takes the sharp step
    $1 / (\hat H_0 + \hat H_1 \Delta)$:

    * The losses before and after a step give the curvature along it, which corrects the
      estimates. At most they halve per step, so the rate at most doubles.
    * **A step that raised the loss is taken back by the next one**, and the estimates grow: trained
      on the whole data set at once (one batch, no dropout, no augmentation), the loss never rises
      twice in a row, whatever the function, up to the rounding of the loss. So does a step that
      ended in a loss or gradient that is not finite. The copy of the weights that this needs costs
      the memory of a momentum.
    * **On mini-batches** the losses before and after a step are of different data and say nothing
      about the step. This shows as soon as a step was taken back: the loss comes out differently
      at the same weights. From then on the rule of `OnlineSmoothnessLearningRate` is followed,
      which uses the loss and the gradient of the same batch alone, and no step is taken back for
      its loss. It is proved for convex interpolated problems, and `f_star` matters: where the
      batches cannot reach it, the rate does not fall to 0. `safeguard=False` starts with that rule
      and keeps no copy.
    * `f_star` may be any lower bound of the loss as long as the losses are of one function.

    The estimates, `estimated_constants`, are curvature that was seen lately along the way, not
    bounds that hold everywhere.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.
    `SmoothnessProbe` measures `H0` and `H1` on a network of your own.

    Args:
        H0: Float >= 0, the curvature at the minimum, or `"auto"`. Defaults to `"auto"`.
        H1: Float >= 0, by how much the curvature may grow per unit of loss, or `"auto"`. Defaults
            to `"auto"`. With a number for one of them only the other is estimated.
        f_star: Float, the loss's infimum. Defaults to `0.0`.
        rho: Float > 0, the exponent of the gap. Defaults to `1.0`; others need rule `"sharp"` or
            `"power"`, or estimated constants.
        rule: `"alimisis"`, `"sharp"`, `"power"` or `"envelope"`. Defaults to `"alimisis"` for
            given constants, the rule with published rates; `"sharp"` takes about a tenth of its
            steps and is safe as well. Estimated constants have the rule `"sharp"`, their default.
        momentum: Float in [0, 1], heavy-ball momentum. Defaults to `0.0`, **the only value the
            theory covers**.
        nesterov: Boolean, Nesterov's form of the momentum. Defaults to `False`.
        weight_decay: As in every Keras optimizer, with Keras' default. So are `clipnorm`,
            `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor` and `gradient_accumulation_steps`. Under the safeguard a step has to
            be the rate times the gradient of the loss: `momentum`, `weight_decay`, clipping,
            `use_ema` and weights with a constraint are refused. Gradient accumulation is not: a
            data set that fits into no single batch can be trained on as a whole with it.
        safeguard: Boolean, for estimated constants alone: whether losses are compared and steps
            taken back. Defaults to `True`.
        name: String. Defaults to `"adaptive_gd"`.

    Raises:
        TypeError: If a constant is neither a number nor `"auto"`.
        ValueError: If a constant is out of range or `rule` does not allow it, or an option does
            not go with the safeguard.

    Example: $f(w) = \cosh w - 1$ has curvature exactly $1 + f$ everywhere.

    >>> import keras
    >>> from keras import ops
    >>> from keras_h0h1 import AdaptiveGD
    >>> w = keras.Variable([5.0])
    >>> optimizer = AdaptiveGD(H0=1.0, H1=1.0, rule="sharp")
    >>> for _ in range(20):
    ...     optimizer.apply([ops.sinh(w)], [w], loss=ops.cosh(w[0]) - 1.0)
    >>> bool(abs(w[0]) < 1e-5)
    True

    Example: the same with nothing given. The loss is written without cancellation, because its
    digits near the minimum are what the estimates are made of.

    >>> w = keras.Variable([5.0])
    >>> optimizer = AdaptiveGD()
    >>> for _ in range(20):
    ...     optimizer.apply([ops.sinh(w)], [w], loss=2.0 * ops.sinh(w[0] / 2.0) ** 2)
    >>> bool(abs(w[0]) < 1e-5), round(optimizer.estimated_constants["H0"], 2)
    (True, 1.0)

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025).
        Yuxing Liu, Yuze Ge, Rui Pan, An Kang, Tong Zhang, "Theoretical Analysis on how
            Learning Rate Warmup Accelerates Convergence", arXiv 2509.07972 (2025): rule `"power"`.
    """

    def __init__(
        self,
        H0: float | str = "auto",
        H1: float | str = "auto",
        f_star: float = 0.0,
        rho: float = 1.0,
        rule: str | None = None,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        safeguard: bool = True,
        name: str | None = "adaptive_gd",
    ) -> None:
        estimated = isinstance(H0, str) or isinstance(H1, str)
        if estimated:
            if rule not in (None, "sharp"):
                raise ValueError(
                    "Estimated constants have the rule 'sharp' alone; the slack of the other rules "
                    f"is for constants that are proved. Received: rule={rule!r}, H0={H0!r}, "
                    f"H1={H1!r}"
                )
            schedule = OnlineSmoothnessLearningRate(H0, H1, f_star, rho, safeguard)
        else:
            rule = "alimisis" if rule is None else current_rule("rule", rule)
            schedule = SmoothnessLearningRate(
                cast(float, H0), cast(float, H1), f_star=f_star, rho=rho, rule=rule
            )
        options = {
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "clipnorm": clipnorm,
            "clipvalue": clipvalue,
            "global_clipnorm": global_clipnorm,
            "use_ema": use_ema,
            "ema_momentum": ema_momentum,
            "ema_overwrite_frequency": ema_overwrite_frequency,
            "loss_scale_factor": loss_scale_factor,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        }
        guarded = estimated and safeguard
        if guarded:
            for option, value in options.items():
                _refuse(option, value)
        super().__init__(
            (RestoringSGD if guarded else keras.optimizers.SGD)(schedule, **options), name
        )

    @property
    def estimated_constants(self) -> dict[str, float]:
        """The present estimates of $H_0$ and $H_1$, or the numbers that were given; 0 at first."""
        state = self._only_state()
        given = {"H0": state.schedule.H0, "H1": state.schedule.H1}
        values = {name: state.variables.get(name, value) for name, value in given.items()}
        return {name: float(ops.convert_to_numpy(value)) for name, value in values.items()}

    def apply(
        self,
        grads: Sequence[Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
        loss: Tensor | None = None,
    ) -> None:
        if len(grads) and self.built and isinstance(self.inner_optimizer, RestoringSGD):
            self._forget_a_step_that_was_undone(grads, trainable_variables)
        super().apply(grads, trainable_variables, loss=loss)

    def _forget_a_step_that_was_undone(self, gradients, variables) -> None:
        """Weights that were set from outside are a new start: they must not be taken back."""
        if variables is None:
            variables = _keras.built_variables(self.inner_optimizer)
        state = self._only_state().variables
        rate, restored = (
            ops.convert_to_tensor(state[name]) for name in ("previous_rate", "taken_back")
        )
        step = rate * ops.convert_to_tensor(state["previous_norm"]) * (1.0 - restored)
        moved = self.inner_optimizer.was_moved_elsewhere(gradients, list(variables), step)
        state["previous_rate"].assign(ops.where(moved, ops.zeros_like(rate), rate))
        state["taken_back"].assign(ops.where(moved, ops.zeros_like(rate), restored))

    def _check_option(self, name, value) -> None:
        super()._check_option(name, value)
        if isinstance(self.inner_optimizer, RestoringSGD):
            _refuse(name, value)

    def get_config(self) -> Config:
        # Flat: the constants and what SGD was given, not the SGD inside, which is a detail.
        config = self.inner_optimizer.get_config()
        del config["learning_rate"]
        return {**config, **self._only_state().schedule.get_config(), "name": self.name}

    @classmethod
    def from_config(cls, config: Config, custom_objects: Config | None = None) -> Self:
        return cls(**config)


def _refuse(option: str, value) -> None:
    if value and option in _REFUSED:
        raise ValueError(
            f"`{option}` does not go with the safeguard of estimated constants: "
            f"{_REFUSED[option]}. Leave it out, or use `safeguard=False`. "
            f"Received: {option}={value!r}"
        )
