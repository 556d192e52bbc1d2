"""The curvature that the model's own optimizer sees, and the rate that goes with it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_h0h1._types import Data
from keras_h0h1.curvature import Objective, lanczos, second_moment_scale
from keras_h0h1.suggestion._optimizer import leaf_of
from keras_h0h1.suggestion.stability import largest_stable_rate, momentum_of


@dataclasses.dataclass(frozen=True)
class Sharpness:
    """A largest eigenvalue and what it means for the rate.

    Attributes:
        value: Of the Hessian for SGD; of $P^{-1} H$, $P$ the second moment's root, for Adam.
        residual: Its error, in the same unit.
        largest_stable_rate: The rate above which the optimizer diverges on a quadratic of this
            curvature.
    """

    value: float
    residual: float
    largest_stable_rate: float


class SharpnessOf:
    """Measures `Sharpness` at a model's present weights, in training mode, on given batches.

    Args:
        model: With the optimizer whose moments count.
        iterations: Hessian products; each costs about two training steps.
        seed: Of the random start vector.
        counted: From the function that makes a product to the one that is called for it.
    """

    def __init__(
        self,
        model: keras.Model,
        iterations: int,
        seed: int,
        counted: Callable[[Callable], Callable] = lambda product: product,
    ) -> None:
        # In inference BatchNorm would use averages that a few steps have hardly moved.
        self._objective = Objective(model, training=True)
        self._counted = counted
        self._options: dict[str, Any] = {"max_iterations": iterations, "seed": seed, "tol": 0.05}

    def __call__(self, batches: Data) -> Sharpness:
        leaf = leaf_of(self._objective.model.optimizer)
        # Not `None`: `suggest` measures no sharpness where the steps are no gradient steps.
        momentum: Any = momentum_of(leaf)
        operator = self._objective.hessian(batches)
        operator = dataclasses.replace(operator, matvec=self._counted(operator.matvec))
        if momentum["averaged"]:
            operator = operator.scaled(second_moment_scale(self._objective))
        result = lanczos(operator, **self._options)
        value = float(result.value[0])
        return Sharpness(value, float(result.residual[0]), largest_stable_rate(value, **momentum))
