"""The difference of two gradients: on one batch, and on two."""

from collections.abc import Mapping
from typing import Any

from keras_h0h1 import _keras
from keras_h0h1.callbacks.probe_modes.base import ProbeMode, Row, column_of
from keras_h0h1.curvature.batches import Batches
from keras_h0h1.curvature.differences import GradientDifference
from keras_h0h1.curvature.objective import Objective


class GradientDifferenceMode(ProbeMode):
    r"""$\|\nabla f_b(w_{k+1}) - \nabla f_b(w_k)\| / \|w_{k+1} - w_k\|$ on the batch $b$."""

    name = "gradient_difference"
    label = "gradient difference on one batch"

    def __init__(self, data: Any, *, iterations: int, tol: float) -> None:
        super().__init__(data, iterations=iterations, tol=tol)
        self._batches = Batches(data)
        self._loss = float("nan")

    def prepare(self, objective: Objective, masks: Mapping[str, Any]) -> None:
        super().prepare(objective, masks)
        self._difference = GradientDifference(objective)

    def _next_batches(self) -> Batches:
        return self._batches

    def start(self, step: int) -> int:
        self._loss = self._difference.start(self._next_batches())
        # While gradients accumulate the weights stay: the difference waits until they move.
        return _keras.steps_to_update(self.objective.model)

    def finish(self) -> Row:
        result = self._difference.finish(self._next_batches())
        row = {
            "loss": self._loss,
            "curvature": result.value,
            "residual": result.residual,
            "iterations": result.iterations,
            "converged": result.converged,
            "seconds": result.seconds,
        }
        for name, mask in self.masks.items():
            row[column_of(name)] = self._difference.block(mask)
        return row


class TrajectoryMode(GradientDifferenceMode):
    r"""$\|\nabla f_k(w_{k+1}) - \nabla f_{k-1}(w_k)\| / \|w_{k+1} - w_k\|$: two batches."""

    name = "trajectory"
    label = "gradient difference on two batches (noise included)"

    def __init__(self, data: Any, *, iterations: int, tol: float) -> None:
        super().__init__(data, iterations=iterations, tol=tol)
        self._prepared = [Batches.prepared(batch) for batch in self._batches]
        if len(self._prepared) < 2:
            raise ValueError(
                "mode='trajectory' compares two batches. "
                f"Received: data with {len(self._prepared)} batch"
            )
        self._turn = 0

    def _next_batches(self) -> Batches:
        batch = self._prepared[self._turn % len(self._prepared)]
        self._turn += 1
        return batch
