"""Eigenvalues of the Hessian, as it is and as Adam sees it."""

import time
from collections.abc import Mapping
from typing import Any

from keras_h0h1.callbacks.probe_modes.base import ProbeMode, Row, column_of
from keras_h0h1.curvature.batches import Batches
from keras_h0h1.curvature.lanczos import lanczos
from keras_h0h1.curvature.objective import Objective
from keras_h0h1.curvature.operators import Operator
from keras_h0h1.curvature.preconditioned import second_moment_scale
from keras_h0h1.curvature.results import Measurement


class HessianMode(ProbeMode):
    r"""$\|\nabla^2 f_b(w_k)\|$ by Lanczos."""

    name = "hessian"
    label = "spectral norm of the Hessian"
    _which = "magnitude"

    def __init__(self, data: Any, *, iterations: int, tol: float) -> None:
        super().__init__(data, iterations=iterations, tol=tol)
        self._batches = Batches(data)

    def prepare(self, objective: Objective, masks: Mapping[str, Any]) -> None:
        super().prepare(objective, masks)
        self._vectors: dict[str, Any] = {}

    def _operator(self, step: int) -> Operator | None:
        """The operator at the present weights, or `None` where it does not exist yet."""
        return self.objective.hessian(self._batches)

    def start(self, step: int) -> int | None:
        begin = time.perf_counter()
        operator = self._operator(step)
        if operator is None:
            return None
        loss = self.objective.loss(self._batches)
        result = self._eigenvalue(operator, "")
        self._row: Row = {
            "loss": loss,
            "curvature": abs(float(result.value[0])),
            "residual": float(result.residual[0]),
            "iterations": result.iterations,
            "converged": result.converged,
        }
        for name, mask in self.masks.items():
            block = self._eigenvalue(operator.scaled(mask), name)
            self._row[column_of(name)] = abs(float(block.value[0]))
        self._row["seconds"] = time.perf_counter() - begin
        return 0

    def finish(self) -> Row:
        return self._row

    def _eigenvalue(self, operator: Operator, name: str) -> Measurement:
        # Last time's vector is a good start: a few iterations follow a slowly turning Hessian.
        result = lanczos(
            operator,
            which=self._which,
            tol=self.tol,
            max_iterations=self.iterations,
            start=self._vectors.get(name),
            vectors=True,
        )
        self._vectors[name] = result.vectors[0] if result.vectors else None
        return result


class PreconditionedMode(HessianMode):
    r"""The largest eigenvalue of $P^{-1/2} \nabla^2 f_b(w_k) P^{-1/2}$ with Adam's $P$."""

    name = "preconditioned"
    label = "largest eigenvalue of $P^{-1/2} H P^{-1/2}$ (Adam's $P$)"
    _which = "largest"

    def _operator(self, step: int) -> Operator | None:
        try:
            scale = second_moment_scale(self.objective)
        except ValueError:
            if step > 0:
                raise
            return None  # Before the first step there is no second moment.
        return self.objective.hessian(self._batches).scaled(scale)
