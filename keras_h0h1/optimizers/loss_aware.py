"""The wrapper that lets the learning rate of any Keras optimizer see the loss."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import keras
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._types import Config, Tensor
from keras_h0h1.optimizers._adoption import AdoptsSchedules
from keras_h0h1.optimizers._delegation import DelegatingOptimizer
from keras_h0h1.optimizers._inbox import IN_A_MULTI_OPTIMIZER, SCALED_BY_KERAS, Inbox, no_loss_error
from keras_h0h1.optimizers._rate_state import RateState
from keras_h0h1.optimizers._rates import RateAttributes
from keras_h0h1.optimizers.layerwise import Layerwise


@keras.saving.register_keras_serializable("keras_h0h1")
class LossAware(RateAttributes, AdoptsSchedules, DelegatingOptimizer):
    """Lets a loss-driven schedule in any Keras optimizer see the loss of the current batch.

    The loss is that of the batch whose gradient is applied, inside the compiled step,
    without a round trip to the host; the model and its `train_step` stay as they are. It is the
    total objective that is differentiated (regularisers and `add_loss` included), unscaled under
    loss scaling, averaged over the micro-batches of gradient accumulation and over replicas. A
    NaN or infinite loss leaves the rate as it was. `evaluate` and validation never move it.

    The state (the loss, the factor and what else the schedule remembers) is part of the
    optimizer's variables: `model.save`, `ModelCheckpoint` and `BackupAndRestore` keep it.
    `LossAware` works with its own copy of the schedule, so one schedule may be given to several
    optimizers.

    * `optimizer.learning_rate` is the **base** rate, read and write, as in any Keras optimizer:
      with a float base it is the variable that holds it, so `.assign(...)` works too, and so do
      `ReduceLROnPlateau`, `LearningRateScheduler` and callbacks of your own. With a schedule as
      base it reads as the schedule's value and cannot be set.
    * `optimizer.effective_learning_rate` is the rate of the last step, base times factor (before
      the first step: the base rate). `LearningRateLogger` puts it into the logs.
    * With `Layerwise` inside, these and `C` are those of a multiplier of 1; each group's are in
      `rate_states`.
    * Whatever else the inner optimizer offers (`clipnorm`, `weight_decay`, `beta_1`,
      `exclude_from_weight_decay`, ...) is read, set and called on the wrapper as on it.
    * Decoupled weight decay (`weight_decay=`) is multiplied by the rate in Keras, so it is warmed
      up as well.
    * Under `mixed_float16` use `keras_h0h1.LossScaleOptimizer(LossAware(...))`.

    Args:
        optimizer: Any Keras optimizer whose `learning_rate` is a loss-driven schedule, such as
            `LossAdaptiveLearningRate` or `SmoothnessLearningRate`; built or not. In a
            `keras.optimizers.MultiOptimizer` at least one of the optimizers needs such a schedule.
            If it is built, its state is kept.
        name: String, the wrapper's name. Defaults to `"loss_aware"`.

    Attributes:
        inner_optimizer: The wrapped optimizer.
        learning_rate: The base rate, before the loss-driven factor; settable where the schedule's
            base is a float. `base_learning_rate` is another name for it.
        effective_learning_rate: The rate of the last step, `learning_rate * learning_rate_factor`.
        learning_rate_factor: The factor of the last step.
        C: The constant of `LossAdaptiveLearningRate`, a variable; settable in mid-training, with
            nothing compiled again and no moment lost. With `C="auto"` it is the one found (0 before
            the first loss), and a number that is set stays.
        observed_loss: The last finite loss that came in (the mean of the window under gradient
            accumulation); 0 before the first.

    Raises:
        TypeError: If `optimizer` is not a Keras optimizer, or is loss-aware already.
        ValueError: If it has no loss-driven schedule, or is a `LossScaleOptimizer`, which has to
            be outermost.
        RuntimeError: In training, if no loss arrives.

    Example: with `fit`, nothing else changes.

    >>> import keras, numpy as np
    >>> from keras_h0h1 import LossAdaptiveLearningRate, LossAware
    >>> dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    >>> model = keras.Sequential([keras.Input((1,)), dense])
    >>> schedule = LossAdaptiveLearningRate(0.1, C=4.0)
    >>> model.compile(LossAware(keras.optimizers.SGD(schedule)), loss="mse")
    >>> history = model.fit(np.ones((4, 1)), 4.0 * np.ones((4, 1)), verbose=0)
    >>> float(model.optimizer.observed_loss), float(model.optimizer.learning_rate_factor)
    (16.0, 0.25)

    Example: a custom loop on TensorFlow or PyTorch. `observe` may be called anywhere between the
    loss and `apply`; under `tf.distribute` pass the loss that is differentiated, that is, the
    replica's loss divided by the number of replicas.

    ```python
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.observe(loss)
    optimizer.apply(gradients, model.trainable_variables)
    ```

    Example: a custom loop on JAX, the stateless twin. The loss goes in with the gradients.

    ```python
    @jax.jit
    def step(trainable, optimizer_variables, x, y):
        loss, gradients = jax.value_and_grad(loss_fn)(trainable, x, y)
        trainable, optimizer_variables = optimizer.stateless_apply(
            optimizer_variables, gradients, trainable, loss=loss
        )
        return loss, trainable, optimizer_variables
    ```

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025).
    """

    def __init__(
        self, optimizer: keras.optimizers.Optimizer, name: str | None = "loss_aware"
    ) -> None:
        if isinstance(optimizer, LossAware):
            raise TypeError(f"`optimizer` is loss-aware already. Received: optimizer={optimizer!r}")
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                "`optimizer` must be a Keras optimizer with a loss-driven schedule, such as "
                "`keras.optimizers.AdamW(LossAdaptiveLearningRate(1e-3, C=4.0))`. "
                f"Received: optimizer={optimizer!r}"
            )
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            raise ValueError(
                "Loss scaling has to be outermost: "
                "`keras_h0h1.LossScaleOptimizer(LossAware(optimizer))`. "
                f"Received: optimizer={optimizer!r}"
            )
        # As in Keras' own wrapper, the base class's counter and rate stay unused.
        super().__init__(learning_rate=0.0, name=name)
        self._wrap(optimizer)
        self._inbox = Inbox()
        self._states: tuple[RateState, ...] = ()
        self._adopt_schedules()
        if not self._states and not _keras.gains_optimizers_when_built(optimizer):
            self._raise_no_schedule()
        if optimizer.built:
            self.build(_keras.built_variables(optimizer))

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Builds the inner optimizer, unless it is built, for the model's trainable variables."""
        if self.built:
            return
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        self._renew_states()
        # A MultiOptimizer made from a function knows its optimizers only now.
        self._adopt_schedules()
        if not self._states:
            self._raise_no_schedule()
        self._build_wrapper(variables)

    @property
    def variables(self) -> list[keras.Variable]:
        return self._variables + self.inner_optimizer.variables

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all variables, in the order of `variables`."""
        if not self.built:
            raise ValueError(
                "The optimizer is not built yet: call `optimizer.build(trainable_variables)` "
                f"before `set_weights`. Received: {len(weights)} weights"
            )
        variables = self.variables
        shapes = [tuple(variable.shape) for variable in variables]
        if shapes != [tuple(weight.shape) for weight in weights]:
            raise ValueError(
                f"`weights` must have the shapes of `optimizer.variables`, {shapes}. "
                f"Received: weights of shapes {[tuple(weight.shape) for weight in weights]}"
            )
        for variable, weight in zip(variables, weights, strict=True):
            variable.assign(weight)

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Tensor, keras.Variable]], loss: Tensor | None = None
    ) -> Any:
        """`apply` with pairs, as in `tf.keras`; returns `iterations`."""
        gradients, variables = zip(*grads_and_vars, strict=True)
        self.apply(list(gradients), list(variables), loss=loss)
        return self.iterations

    def observe(self, loss: Tensor) -> None:
        """Takes note of the loss of the batch whose gradient is applied next.

        Args:
            loss: Scalar tensor or float, the objective that is differentiated, before any loss
                scaling.

        Raises:
            ValueError: If `loss` is not a scalar.
        """
        # Without its tangent the loss is, on JAX, a value of the trace outside `jax.grad`, which
        # is the one that `apply` runs in.
        loss = ops.stop_gradient(ops.convert_to_tensor(loss))
        if len(loss.shape) != 0:
            raise ValueError(
                "`loss` must be a scalar, the mean over the batch. "
                f"Received: loss of shape {tuple(loss.shape)}"
            )
        loss = ops.cast(loss, _keras.state_dtype())
        self._inbox.put(_keras.sum_over_replicas(loss))

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Keras' trainers call this once per step, before the gradient is taken."""
        self.observe(loss)
        return self.inner_optimizer.scale_loss(loss)

    def apply(
        self,
        grads: Sequence[Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
        loss: Tensor | None = None,
    ) -> None:
        """Applies the gradients with the rate that belongs to the loss.

        Args:
            grads: List of gradients.
            trainable_variables: The variables, in the same order. May be left out once built.
            loss: Scalar, the loss of this batch; only where neither `scale_loss` nor `observe`
                was called in this step.
        """
        if len(grads) == 0:
            return
        if not self.built and trainable_variables is None:
            raise ValueError(
                "The optimizer is not built yet: pass the variables, or call "
                "`optimizer.build(variables)` first. Received: trainable_variables=None"
            )
        if loss is not None:
            self.observe(loss)
        loss = self._inbox.take()
        if loss is None:
            # Before `build`: what TensorFlow makes in a trace that fails has no values.
            _keras.keep_model_usable()
            raise no_loss_error()
        if not self.built and trainable_variables is not None:
            self.build(list(trainable_variables))
        _keras.check_tracer_is_alive(loss)
        for state in self._states:
            state.advance(loss, grads, trainable_variables)
        self.inner_optimizer.apply(grads, trainable_variables)

    def stateless_apply(
        self,
        optimizer_variables: Sequence[Tensor],
        grads: Sequence[Tensor],
        trainable_variables: Sequence[keras.Variable] | None,
        loss: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`apply` for JAX: takes all values and returns the new ones.

        Args:
            optimizer_variables: Values of `optimizer.variables`.
            grads: List of gradients.
            trainable_variables: Values of the variables the optimizer was built with.
            loss: Scalar, the loss of this batch. May be left out where `scale_loss` was called in
                the same trace, as Keras' own trainer does.

        Returns:
            The new values of the trainable variables and of the optimizer's.
        """
        if loss is not None:
            self.observe(loss)
        return super().stateless_apply(optimizer_variables, grads, trainable_variables)

    @property
    def loss_scale_factor(self) -> Any:
        return self.inner_optimizer.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: Any) -> None:
        # The base class sets it before there is an inner optimizer; LossScaleOptimizer sets it to
        # None on what it wraps, or the gradient would be unscaled twice.
        if "inner_optimizer" in vars(self):
            self.inner_optimizer.loss_scale_factor = value

    def _check_option(self, name, value) -> None:
        super()._check_option(name, value)
        if name != "loss_scale_factor":
            return
        # Here and not in the property: TensorFlow does not set what is equal to what is there.
        outer = _keras.enclosing_optimizer(self)
        if isinstance(outer, keras.optimizers.LossScaleOptimizer):
            if not hasattr(outer, "passes_the_loss_on"):
                raise ValueError(SCALED_BY_KERAS.format(self))
        elif outer is not None and hasattr(outer, "optimizers"):
            raise ValueError(IN_A_MULTI_OPTIMIZER.format(self))

    @property
    def _model_variables_moving_average(self):
        # SwapEMAWeights looks one wrapper deep; loss scaling makes it two.
        return self.inner_optimizer._model_variables_moving_average

    def finalize_variable_values(self, var_list: Sequence[keras.Variable] | None) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)
        # Keras calls this at the end of `fit`, the first moment outside the compiled step.
        for state in self._states:
            state.warn_once()

    def get_config(self) -> Config:
        config = {
            "name": self.name,
            "optimizer": keras.optimizers.serialize(self.inner_optimizer),
        }
        if len(self._states) == 1 or isinstance(self.inner_optimizer, Layerwise):
            # As in Keras: the float, or the schedule's configuration. For reading alone.
            schedule = self._schedule().get_config()
            if "base" in schedule:
                config["learning_rate"] = schedule["base"]
        return config

    @classmethod
    def from_config(cls, config: Config, custom_objects: Config | None = None) -> Self:
        config = {key: config[key] for key in ("name", "optimizer") if key in config}
        # `keras.optimizers.deserialize` does not know Lamb.
        config["optimizer"] = keras.saving.deserialize_keras_object(
            config["optimizer"], custom_objects=custom_objects
        )
        return cls(**config)
