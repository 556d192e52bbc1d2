"""What every mode of the probe offers."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

from keras_h0h1.curvature.objective import Objective

Row = dict[str, Any]


def column_of(block: str) -> str:
    """The column that holds the curvature of a named block of weights."""
    return f"curvature/{block}"


class ProbeMode(abc.ABC):
    """One way to measure curvature in the midst of training.

    `SmoothnessProbe` decides when to measure, and records; a mode only measures. For each
    measurement the probe calls `start`, trains the number of steps that `start` returned, and
    calls `finish`. Weights are never changed.

    Args:
        data: The probe's `data`.
        iterations: Largest number of iterations, where the mode has any.
        tol: Their relative tolerance.

    Attributes:
        name: The value of `SmoothnessProbe(mode=...)`.
        label: What the figures call the curvature, for the axis of a plot.
        objective: The objective that is measured; set by `prepare`.
        masks: A 0/1 vector for each named block of weights.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    objective: Objective
    masks: Mapping[str, Any]

    def __init__(self, data: Any, *, iterations: int, tol: float) -> None:
        self.data = data
        self.iterations = iterations
        self.tol = tol

    def prepare(self, objective: Objective, masks: Mapping[str, Any]) -> None:
        """Called when a model begins to train: nothing of another model is kept."""
        self.objective, self.masks = objective, masks

    @abc.abstractmethod
    def start(self, step: int) -> int | None:
        """Begins a measurement at the present weights.

        Args:
            step: Number of training steps taken so far.

        Returns:
            The number of training steps to take before `finish`, 0 for none; or `None` where
            nothing can be measured yet, as before the first step.
        """

    @abc.abstractmethod
    def finish(self) -> Row:
        """Ends the measurement.

        Returns:
            `loss` and `curvature` of the weights that `start` saw, `residual`, `iterations`,
            `converged`, `seconds`, and the curvature of each block under `column_of(name)`.
        """
