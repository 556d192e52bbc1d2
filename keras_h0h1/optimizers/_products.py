"""Inner optimizers whose step depends on all variables together, through inner products."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.schedules.momentum_model import check_beta


def _value(variable):
    """The variable as a tensor, without a gradient of its own."""
    return ops.stop_gradient(ops.convert_to_tensor(variable))


def _like(scalar, tensor):
    """`scalar` in the dtype of `tensor`; Python numbers adapt by themselves."""
    return ops.cast(scalar, tensor.dtype) if ops.is_tensor(scalar) else scalar


def _inner_product(first, second):
    dtype = _keras.state_dtype()
    return ops.sum(ops.cast(first, dtype) * ops.cast(second, dtype))


class _Directions:
    """Tensors by the index of their variable; TensorFlow would track a dictionary's elements."""

    def __init__(self) -> None:
        self.values: dict[int, tuple] = {}


class ProductsOptimizer(_keras.OwnDecayOptimizer):
    """An optimizer that tells its schedule the inner products which decide about the step.

    `LossAware` calls `products` before the step, the schedule takes the result in, and
    `update_step` then does the step, or nothing where the loss or a product was not finite.
    Subclasses define `direction`, `products` and `updates`. What `direction` returns is kept from
    the one call to the other, so that it is computed once.
    """

    def __init__(self, learning_rate: Tensor, **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self._directions = _Directions()

    def direction(self, gradient: Tensor, variable: keras.Variable, count: Tensor) -> tuple:
        """What this gradient makes of the averages, after `count` steps. No variable is moved."""
        raise NotImplementedError

    def directions(
        self, gradients: Sequence[Tensor], variables: Sequence[keras.Variable], state: Any
    ) -> list[tuple]:
        """For each variable the gradient in its dtype, followed by its `direction`."""
        found = []
        self._directions.values.clear()
        for gradient, variable in zip(gradients, variables, strict=True):
            gradient = ops.cast(gradient, variable.dtype)
            direction = self.direction(gradient, variable, state["count"])
            self._directions.values[_keras.variable_index(self, variable)] = direction
            found.append((gradient, *direction))
        return found

    def updates(
        self, direction: tuple, variable: keras.Variable, learning_rate: Tensor, state: Any
    ) -> list:
        """Pairs of a variable and its new value, from what `direction` returned for it."""
        raise NotImplementedError

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        state = _keras.get_schedule(self).current_state()
        # Of this very gradient, clipped and averaged over a window as Keras has done here.
        direction = self._directions.values.pop(_keras.variable_index(self, variable))
        for target, value in self.updates(direction, variable, learning_rate, state):
            old = ops.convert_to_tensor(target)
            self.assign(target, ops.where(state["taken"] > 0.0, ops.cast(value, old.dtype), old))

    def _decay_factor(self, variable) -> float:
        return (self.weight_decay or 0.0) if self.decays(variable) else 0.0


class MomentumModel(ProductsOptimizer):
    """The vector half of MoMo and, with `beta_2`, of MoMoAdam."""

    def __init__(
        self,
        learning_rate: Tensor,
        beta_2: float | None = None,
        epsilon: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_2 = None if beta_2 is None else check_beta("beta_2", beta_2)
        self.epsilon = check_number("epsilon", epsilon, low=0.0)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        if self.beta_2 is not None:
            self._velocities = self.add_optimizer_variables(variables, "velocity")

    def direction(self, gradient: Tensor, variable: keras.Variable, count: Tensor) -> tuple:
        """The averages of the gradient and of its square, and the preconditioned direction."""
        beta = _like(_keras.get_schedule(self).momentum(count), gradient)
        average = _value(_keras.state_of(self, variable, self._momentums))
        average = beta * average + (1.0 - beta) * gradient
        if self.beta_2 is None:
            return average, None, average
        square = _value(_keras.state_of(self, variable, self._velocities))
        square = self.beta_2 * square + (1.0 - self.beta_2) * gradient * gradient
        correction = _like(1.0 - self.beta_2 ** (count + 1.0), gradient)
        return average, square, average / (self.epsilon + ops.sqrt(square / correction))

    def products(
        self, gradients: Sequence[Tensor], variables: Sequence[keras.Variable], state: Any
    ) -> dict:
        """The scalars of MoMo's formula, for the gradient of the step to come."""
        squared = product = gradient_product = 0.0
        found = self.directions(gradients, variables, state)
        for (gradient, average, _, direction), variable in zip(found, variables, strict=True):
            weight = _value(variable)
            squared = squared + _inner_product(average, direction)
            product = product + _inner_product(average, weight)
            gradient_product = gradient_product + _inner_product(gradient, weight)
        return {
            "squared_norm": squared,
            "product": product,
            "gradient_product": gradient_product,
            "weight_decay": self.weight_decay or 0.0,
        }

    def updates(
        self, direction: tuple, variable: keras.Variable, learning_rate: Tensor, state: Any
    ) -> list:
        schedule = _keras.get_schedule(self)
        average, square, preconditioned = direction
        weight = _value(variable)
        # The rate belongs to the average without its start-up bias.
        step = _like(learning_rate / schedule.correction(state["count"]), weight)
        base = _like(schedule.base_rate(_keras.get_iterations(self), state), weight)
        shrinking = base * self._decay_factor(variable)
        new = weight - shrinking / (1.0 + shrinking) * weight - step * preconditioned
        pairs = [(variable, new), (_keras.state_of(self, variable, self._momentums), average)]
        if square is not None:
            pairs.append((_keras.state_of(self, variable, self._velocities), square))
        return pairs


class PreconditionedHeavyBall(ProductsOptimizer):
    """The vector half of NGN-MD: heavy ball along the gradient over the root of its square."""

    def __init__(
        self, learning_rate: Tensor, beta_1: float, beta_2: float, epsilon: float, **options: Any
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = check_beta("beta_1", beta_1)
        self.beta_2 = check_beta("beta_2", beta_2)
        self.epsilon = check_number("epsilon", epsilon, low=0.0)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )

    def direction(self, gradient: Tensor, variable: keras.Variable, count: Tensor) -> tuple:
        """The average square of the gradient, and the gradient over its corrected root."""
        square = _value(_keras.state_of(self, variable, self._velocities))
        square = self.beta_2 * square + (1.0 - self.beta_2) * gradient * gradient
        correction = _like(1.0 - self.beta_2 ** (count + 1.0), gradient)
        return square, gradient / (self.epsilon + ops.sqrt(square / correction))

    def products(
        self, gradients: Sequence[Tensor], variables: Sequence[keras.Variable], state: Any
    ) -> dict:
        """The squared norm of the gradient in the scalar product of the preconditioner."""
        squared = 0.0
        for gradient, _, direction in self.directions(gradients, variables, state):
            squared = squared + _inner_product(gradient, direction)
        return {"squared_norm": squared}

    def updates(
        self, direction: tuple, variable: keras.Variable, learning_rate: Tensor, state: Any
    ) -> list:
        square, preconditioned = direction
        weight = _value(variable)
        rate = _like(learning_rate, weight)
        momentum = _keras.state_of(self, variable, self._momentums)
        moved = self.beta_1 * _value(momentum) - (1.0 - self.beta_1) * rate * preconditioned
        new = weight - self._decay_factor(variable) * rate * weight + moved
        velocity = _keras.state_of(self, variable, self._velocities)
        return [(variable, new), (momentum, moved), (velocity, square)]


class HeavyBall(keras.optimizers.Optimizer):
    """The vector half of NGN-M: heavy ball whose new part is multiplied by 1 - momentum."""

    def __init__(self, learning_rate: Tensor, momentum: float, **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self.momentum = check_beta("momentum", momentum)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        gradient = ops.cast(ops.convert_to_tensor(gradient, sparse=False), variable.dtype)
        momentum = _keras.state_of(self, variable, self._momentums)
        rate = _like(learning_rate, gradient)
        moved = self.momentum * _value(momentum) - (1.0 - self.momentum) * rate * gradient
        self.assign(momentum, moved)
        self.assign_add(variable, moved)
