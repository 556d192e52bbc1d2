"""Gradient descent with the step that (H0, H1)-smoothness proves."""

import keras

from keras_h0h1.optimizers.loss_aware import LossAware
from keras_h0h1.schedules import SmoothnessLearningRate


@keras.saving.register_keras_serializable("keras_h0h1")
class AdaptiveGD(LossAware):
    r"""Gradient descent whose step follows the loss: no learning rate to set.

    $$w_{k+1} = w_k - \eta_k \nabla f(w_k), \qquad
    \eta_k = \frac{1}{10 H_0 + 20 H_1 \Delta_k}, \qquad \Delta_k = \max(f(w_k) - f^*, 0)$$

    with the default `rule="paper"`; the other rules are those of
    `keras_h0h1.SmoothnessLearningRate`. If $\|\nabla^2 f\| \le H_0 + H_1 (f - f^*)$, each step
    decreases the loss, whatever the starting point; a fixed step would have to be as short as
    the curvature at the *start* demands. On mini-batches the rule is proved for interpolated
    problems, where every batch has the same minimiser.

    It sees the loss by itself: compile the model with it as it is, without `LossAware`.
    `SmoothnessProbe` measures `H0` and `H1` on a network of your own.

    Args:
        H0: Float >= 0, the curvature at the minimum.
        H1: Float >= 0, by how much the curvature may grow per unit of loss.
        f_star: Float, the loss's infimum. Defaults to `0.0`.
        rho: Float > 0, the exponent of the gap. Defaults to `1.0`; others need rule `"sharp"` or
            `"power"`.
        rule: `"paper"`, `"sharp"`, `"power"` or `"envelope"`. Defaults to `"paper"`, the rule with
            published rates; `"sharp"` takes about a tenth of its steps and is safe as well.
        momentum: Float in [0, 1], heavy-ball momentum. Defaults to `0.0`, **the only value the
            theory covers**.
        nesterov: Boolean, Nesterov's form of the momentum. Defaults to `False`.
        weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
        ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps:
            As in every Keras optimizer, with Keras' defaults.
        name: String. Defaults to `"adaptive_gd"`.

    Raises:
        TypeError: If a constant is not a number.
        ValueError: If a constant is out of range or `rule` does not allow it.

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

    References:
        F. Alimisis, R. Islamov, A. Lucchi, "Why Do We Need Warm-up? A Theoretical Perspective",
            arXiv 2510.03164 (2025).
        Y. Liu, Y. Ge, R. Pan, A. Kang, T. Zhang, "Theoretical Analysis on how Learning Rate
            Warmup Accelerates Convergence", arXiv 2509.07972 (2025): rule `"power"`.
    """

    def __init__(
        self,
        H0: float,
        H1: float,
        f_star: float = 0.0,
        rho: float = 1.0,
        rule: str = "paper",
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
        name: str | None = "adaptive_gd",
    ):
        schedule = SmoothnessLearningRate(H0, H1, f_star=f_star, rho=rho, rule=rule)
        inner = keras.optimizers.SGD(
            schedule,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
        )
        super().__init__(inner, name=name)

    def get_config(self):
        # Flat: the constants and what SGD was given, not the SGD inside, which is a detail.
        config = self.inner_optimizer.get_config()
        del config["learning_rate"]
        return {**config, **self._only_state().schedule.get_config(), "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
