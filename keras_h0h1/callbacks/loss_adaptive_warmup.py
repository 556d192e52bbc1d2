"""A loss-driven warm-up for a model that is compiled already."""

import keras

from keras_h0h1 import _keras
from keras_h0h1._types import Logs
from keras_h0h1.optimizers import LossAware, LossScaleOptimizer
from keras_h0h1.schedules import AutoC, LossAdaptiveLearningRate
from keras_h0h1.schedules.base import LossDrivenSchedule


class LossAdaptiveWarmup(keras.callbacks.Callback):
    r"""Puts a loss-driven factor on the learning rate the model was compiled with.

    $$\eta_k = \frac{\eta(k)}{\max\{1, (\Delta_k / C)^\rho\}},
    \qquad \Delta_k = \max(f_k - f^*, 0)$$

    where $\eta(k)$ is the optimizer's own rate: its float, which stays settable, or its schedule.
    Nothing changes in `compile`. When `fit` begins, `model.optimizer` becomes
    `LossAware(optimizer)` around the same optimizer, whose state (moments, step count, loss
    scale) is kept; it stays so afterwards, is saved with the model, and a second `fit` continues
    where the first ended, with this callback or without it.

    Not for a `keras.optimizers.MultiOptimizer`: give its optimizers a `LossAdaptiveLearningRate`
    each and wrap it in `LossAware`.

    Args:
        C: As in `LossAdaptiveLearningRate`: `"auto"`, the default, or a float > 0 in units of the
            loss, the gap below which the factor is 1.
        f_star, rho, smoothing, latch, min_factor, spike_threshold: As in
            `LossAdaptiveLearningRate`.

    Raises:
        TypeError, ValueError: As `LossAdaptiveLearningRate` does for the numbers.
        ValueError: In `fit`, if the model's optimizer is driven by the loss already, with other
            settings.

    Example:

    >>> import keras, numpy as np
    >>> from keras_h0h1.callbacks import LossAdaptiveWarmup
    >>> dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    >>> model = keras.Sequential([keras.Input((1,)), dense])
    >>> model.compile(keras.optimizers.SGD(0.1), loss="mse")
    >>> x, y = np.ones((4, 1)), 4.0 * np.ones((4, 1))
    >>> history = model.fit(x, y, verbose=0, callbacks=[LossAdaptiveWarmup(C=4.0)])
    >>> float(model.optimizer.learning_rate_factor)
    0.25

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025).
    """

    def __init__(
        self,
        C: float | str | AutoC = "auto",
        f_star: float | str | None = None,
        rho: float | None = None,
        smoothing: float | None = None,
        latch: bool = False,
        min_factor: float = 0.0,
        spike_threshold: float | None = None,
    ) -> None:
        super().__init__()
        # The base comes with the model; constructing a schedule now checks the numbers now.
        self._settings = LossAdaptiveLearningRate(
            1.0, C, f_star, rho, smoothing, latch, min_factor, spike_threshold
        ).get_config()
        del self._settings["base"]

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        # Before other callbacks' `on_train_begin`: `BackupAndRestore` loads the state in its own.
        # `evaluate` and `predict` call this too, and leave the model as it is.
        if _keras.fit_is_beginning(model):
            self._exchange_optimizer(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        model = _keras.callback_model(self)
        before = model.optimizer
        self._exchange_optimizer(model)
        if model.optimizer is not before:
            # Keras has built the train function already, around the optimizer that was there.
            model.make_train_function(force=True)

    def _exchange_optimizer(self, model):
        optimizer = model.optimizer
        outer = None
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            outer, optimizer = optimizer, optimizer.inner_optimizer
        if isinstance(optimizer, LossAware):
            self._check_same_settings(optimizer)
            return
        if hasattr(optimizer, "optimizers"):
            raise ValueError(
                "`LossAdaptiveWarmup` does not know which of several optimizers to act on. Give "
                "them a `LossAdaptiveLearningRate` each and compile with `LossAware(optimizer)`. "
                f"Received: optimizer={optimizer!r}"
            )
        with _keras.variable_scope(model):
            self._install(model, optimizer, outer)

    def _check_same_settings(self, optimizer):
        """A second `fit` meets its own schedule; anything else is a contradiction."""
        configs = []
        for state in optimizer.rate_states:
            config = state.schedule.get_config()
            config.pop("base", None)
            if isinstance(state.schedule, LossAdaptiveLearningRate):
                # `optimizer.C` may have been set since, as the base may.
                config = {**config, "C": state.schedule.given_C()}
            configs.append(config)
        if configs != [self._settings]:
            raise ValueError(
                "The model's optimizer is driven by the loss already. Leave this callback out, or "
                "compile with an optimizer that is not. "
                f"Received: settings={self._settings}, the optimizer's: {configs}"
            )

    def _install(self, model, optimizer, outer):
        base = _keras.get_schedule(optimizer)
        if isinstance(base, LossDrivenSchedule):
            base.current_state()  # raises: such a schedule in an optimizer that is not loss-aware
        if not isinstance(base, keras.optimizers.schedules.LearningRateSchedule):
            # A plain function of no arguments, which Keras allows too, has no place in a schedule.
            if not isinstance(base, keras.Variable):
                raise ValueError(
                    "`LossAdaptiveWarmup` needs an optimizer whose learning rate is a float or a "
                    f"`LearningRateSchedule`. Received: learning_rate={base!r}"
                )
            base = float(keras.ops.convert_to_numpy(base))
        schedule = LossAdaptiveLearningRate.from_config({"base": base, **self._settings})
        _keras.set_schedule(optimizer, schedule)
        aware = LossAware(optimizer)
        if outer is None:
            _keras.replace_optimizer(model, aware)
            return
        scaled = LossScaleOptimizer(
            aware, outer.initial_scale, outer.dynamic_growth_steps, name=outer.name
        )
        if outer.built:
            scaled.build(_keras.built_variables(optimizer))
            scaled.step_counter.assign(outer.step_counter)
            scaled.dynamic_scale.assign(outer.dynamic_scale)
        _keras.replace_optimizer(model, scaled)
