"""The variables of one loss-driven schedule, and how one step moves them."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import initializers, ops

from keras_h0h1 import _keras
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_number, check_representable
from keras_h0h1.schedules import LossDrivenSchedule


class RateState:
    """Holds the state of one schedule inside one optimizer and advances it once per step.

    The state lives in variables that the wrapping optimizer tracks, so Keras saves, restores,
    shards and donates them with the rest of the optimizer. A variable held by the schedule
    itself would be none of that, and on JAX it would be a constant of the compiled step.

    Args:
        leaf: The Keras optimizer that holds the schedule.
        schedule: The schedule; bound to this state from here on.
        add_variable: `add_variable` of the optimizer that owns the state.
        shared: Variables by name that other states hold too and no step moves.
    """

    def __init__(
        self,
        leaf: keras.optimizers.Optimizer,
        schedule: LossDrivenSchedule,
        add_variable: Callable[..., keras.Variable],
        shared: dict[str, keras.Variable] | None = None,
    ) -> None:
        self.leaf = leaf
        self.schedule = schedule
        self._warned = False
        self.num_micro_batches = leaf.gradient_accumulation_steps or 1
        schedule.check_optimizer(leaf)
        schedule.check_constants(_keras.state_dtype())
        values = schedule.first_state()
        if self.num_micro_batches > 1:
            values |= {"loss_sum": 0.0, "loss_count": 0.0}
        if schedule.needs_products:
            # Whether the optimizer takes the step at hand: 1 or 0.
            values["taken"] = 0.0
        shared = shared or {}
        self.variables = {
            name: shared[name]
            if name in shared
            else add_variable(
                shape=(),
                # TensorFlow takes a Python number by way of float32.
                initializer=initializers.Constant(np.asarray(value, _keras.state_dtype())),
                dtype=_keras.state_dtype(),
                # Every replica assigns the same number: any of them will do.
                aggregation="only_first_replica",
                name=name,
            )
            for name, value in values.items()
        }
        schedule.bind(self.variables)

    def rate(self) -> Tensor:
        """The effective rate of the last step; before the first, of the step to come."""
        last_step = ops.maximum(_keras.get_iterations(self.leaf) - 1, 0)
        return self.schedule.effective_rate(last_step, self.schedule.current_state())

    def base_rate(self) -> Tensor:
        """The base rate of the last step; before the first, of the step to come."""
        return self.base_rate_of(self.schedule)

    def base_rate_of(self, schedule: LossDrivenSchedule) -> Tensor:
        """`base_rate` by another schedule that is bound to the same variables."""
        last_step = ops.maximum(_keras.get_iterations(self.leaf) - 1, 0)
        return schedule.base_rate(last_step, schedule.current_state())

    def factor(self) -> Tensor:
        """The loss-driven factor of the last step."""
        return self.schedule.factor(self.schedule.current_state())

    @property
    def C(self) -> Any:
        """The variable that holds the constant of the practical rule."""
        if "C" not in self.variables:
            raise AttributeError(
                "Only `LossAdaptiveLearningRate` has a constant `C`. "
                f"Received: schedule={self.schedule!r}"
            )
        return self.variables["C"]

    @C.setter
    def C(self, value: Any) -> None:
        variable = self.C
        value = value if isinstance(value, float) else ops.convert_to_numpy(value)
        value = check_number("C", value, low=0.0, strict=True)
        variable.assign(check_representable("C", value, _keras.state_dtype()))
        if "tuned" in self.variables:
            # The number counts from here on, not what the first losses say.
            self.variables["tuned"].assign(0.0)

    def warn_once(self, state: Any = None) -> None:
        """Warns of what the schedule has to say about the losses it saw, once.

        Args:
            state: The state to look at. Defaults to the present one.
        """
        if self._warned:
            return
        try:
            messages = self.schedule.warnings(self.variables if state is None else state)
        except (RuntimeError, TypeError, ValueError):
            # `fit` ends with an error that came out of the compiled step on JAX, which has given
            # the variables' values away; that error is the one to be seen.
            return
        for message in messages:
            self._warned = True
            warnings.warn(message, UserWarning, stacklevel=2)

    def advance(
        self,
        loss: Tensor,
        gradients: Sequence[Tensor],
        variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        """Takes the loss of one (micro-)batch in. A non-finite loss changes nothing.

        Nor does a loss from which the schedule's arithmetic, which ends at the largest number of
        its dtype, makes a non-finite value: no such value enters the state. Only a schedule that
        `judges_non_finite` is shown a loss or a norm that is not finite.

        With gradient accumulation the mean over the window's finite losses counts, and the
        schedule moves on the window's last micro-batch, the one on which the weights move.

        Args:
            loss: Scalar tensor.
            gradients: Their gradients, as the optimizer gets them.
            variables: The variables they belong to; by default those the optimizer was built with.
        """
        state = {name: ops.convert_to_tensor(v) for name, v in self.variables.items()}
        new, usable = {}, True
        if self.num_micro_batches > 1:
            new, loss, usable = self._window(state, loss)
        needed = None
        if self.schedule.needs_products:
            needed = self._products(gradients, variables, state)
        elif self.schedule.needs_gradient_norm:
            needed = self._gradient_norm(gradients)
        # The optimizer asks for the rate with the counter of this step and the new state.
        step = ops.convert_to_tensor(_keras.get_iterations(self.leaf))
        new |= self.schedule.advance(state, step, loss, needed, usable)
        for name, value in new.items():
            self.variables[name].assign(value)

    def _window(self, state, loss):
        """Of a window of gradient accumulation: the new sums, the mean loss, whether it counts."""
        finite = ops.isfinite(loss)
        loss = ops.where(finite, loss, ops.zeros_like(loss))
        # The sum of the losses themselves could be beyond the largest number.
        total = state["loss_sum"] + loss / self.num_micro_batches
        # By rounding it still could.
        finite = ops.logical_and(finite, ops.isfinite(total))
        total = ops.where(finite, total, state["loss_sum"])
        count = state["loss_count"] + ops.cast(finite, loss.dtype)
        ends = ops.equal((_keras.get_iterations(self.leaf) + 1) % self.num_micro_batches, 0)
        sums = {
            "loss_sum": ops.where(ends, ops.zeros_like(total), total),
            "loss_count": ops.where(ends, ops.zeros_like(count), count),
        }
        mean = total * (self.num_micro_batches / ops.maximum(count, ops.ones_like(count)))
        if self.schedule.judges_non_finite:
            # One loss that is not finite makes the mean of the window so.
            return sums, ops.where(count < self.num_micro_batches, float("nan"), mean), ends
        return sums, mean, ops.logical_and(ends, count > 0)

    def _gradient_norm(self, gradients):
        """Norm of the gradient of the mean loss over the window, unscaled and unclipped."""
        self._refuse_replicas()
        scale = self.leaf.loss_scale_factor or 1.0
        if self.num_micro_batches == 1:
            return _keras.global_norm(gradients) / scale
        # Keras accumulates unscaled gradients.
        sums = _keras.get_accumulated_gradients(self.leaf)
        total = [
            g if g is None else ops.convert_to_tensor(g, sparse=False) / scale + s
            for g, s in zip(gradients, sums, strict=True)
        ]
        return _keras.global_norm(total) / self.num_micro_batches

    def _products(self, gradients, variables, state):
        """The inner products that the optimizer computes from the gradient it is about to use.

        That is the mean over the window, unscaled and clipped: what `update_step` will be given.
        """
        self._refuse_replicas()
        known = _keras.built_variables(self.leaf) if variables is None else list(variables)
        pairs = [
            (ops.convert_to_tensor(g, sparse=False), v)
            for g, v in zip(gradients, known, strict=True)
            if g is not None and not _keras.is_set_by_its_gradient(v)
        ]
        scale = self.leaf.loss_scale_factor or 1.0
        mean = [g / scale for g, _ in pairs]
        variables = [v for _, v in pairs]
        if self.num_micro_batches > 1:
            sums = _keras.accumulated_gradients_of(self.leaf, variables)
            mean = [(g + s) / self.num_micro_batches for g, s in zip(mean, sums, strict=True)]
        mean = _keras.clip_gradients(self.leaf, mean)
        return self.leaf.products(mean, variables, state)

    def _refuse_replicas(self):
        if _keras.num_replicas() > 1:
            raise ValueError(
                "A rule that uses the gradient norm does not run under `tf.distribute`, where "
                "an optimizer sees the gradient of its own replica only. Use rule='sharp', or "
                "`keras.distribution` on JAX. "
                f"Received: schedule={self.schedule!r}, replicas={_keras.num_replicas()}"
            )
