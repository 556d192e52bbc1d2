"""Gradient descent that can take its last step back."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._types import Tensor

# NumPy does not know bfloat16.
_BFLOAT16_EPS = 2.0**-7


class RestoringSGD(keras.optimizers.SGD):
    """SGD without momentum, with a copy of the weights that the last step started from.

    The state of its learning-rate schedule says in `taken_back` whether the weights of the copy
    are restored in place of a step. The copy costs as much memory as the momentum of SGD.
    """

    takes_steps_back = True

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        constrained = [v.path for v in variables if v.constraint is not None]
        if constrained:
            raise ValueError(
                "Constants cannot be estimated from the losses of weights with a constraint, which "
                "are moved after the step as well. Leave the constraints out, or use "
                f"`safeguard=False`. Received: constraints on {constrained!r}"
            )
        self._copies = [
            self.add_variable_from_reference(variable, name="previous") for variable in variables
        ]

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        copy = self._copies[_keras.variable_index(self, variable)]
        back = _keras.get_schedule(self).current_state()["taken_back"] > 0
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(ops.convert_to_tensor(gradient, sparse=False), variable.dtype)
        present, previous = ops.convert_to_tensor(variable), ops.convert_to_tensor(copy)
        # At a rate of 0 a gradient of NaN must not count either.
        moved = ops.where(rate > 0, present - rate * gradient, present)
        self.assign(copy, ops.where(back, previous, present))
        self.assign(variable, ops.where(back, previous, moved))

    def was_moved_elsewhere(
        self, gradients: Sequence[Tensor], variables: Sequence[keras.Variable], distance: Tensor
    ) -> Tensor:
        """Whether the weights are not where the last step, of length `distance`, has left them.

        Other code has set them then, `load_weights` for one.
        """
        dtype = _keras.state_dtype()
        square, rounding = 0.0, 0.0
        for gradient, variable in zip(gradients, variables, strict=True):
            if gradient is None:
                continue
            copy = self._copies[_keras.variable_index(self, variable)]
            present = ops.cast(ops.convert_to_tensor(variable), dtype)
            square += ops.sum(ops.square(present - ops.cast(ops.convert_to_tensor(copy), dtype)))
            known = variable.dtype != "bfloat16"
            eps = float(np.finfo(variable.dtype).eps) if known else _BFLOAT16_EPS
            rounding += eps**2 * ops.sum(ops.square(present))
        tolerance = 0.01 * distance + 2.0 * ops.sqrt(rounding)
        return ops.abs(ops.sqrt(square) - distance) > tolerance
