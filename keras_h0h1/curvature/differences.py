"""Smoothness from two gradients along training: on one batch, and in the paper's literal form."""

import time
from typing import Any

import numpy as np

from keras_h0h1 import _autodiff
from keras_h0h1._types import Tensor
from keras_h0h1.curvature.batches import Batches
from keras_h0h1.curvature.objective import Objective
from keras_h0h1.curvature.results import Measurement


class GradientDifference:
    r"""$\|\nabla f_b(w') - \nabla f_a(w)\| / \|w' - w\|$ between two moments of training.

    With the same batch twice, $a = b$, this is $\|\bar H u\|$: the Hessian, averaged over the
    segment, applied to the unit vector $u$ along the step. It is a lower bound on the largest
    curvature there and costs two gradients.

    With two different batches it is the proxy printed in the paper. **Its noise does not shrink
    with the step**: the two gradients differ by $\sqrt2 \sigma$ whatever the distance, so at a
    small rate $\eta$ it measures $\sqrt2 \sigma / (\eta \|g\|)$, which is not curvature.

    Use: `start(batch)` at the first moment, `finish(batch)` at the second.

    Args:
        objective: The model's objective.

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025).

    Example: $f = \frac32 w^2$ has curvature 3 everywhere.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    >>> objective = Objective(model, loss=lambda y, p: 1.5 * p**2)
    >>> difference, batch = GradientDifference(objective), (np.ones((1, 1)), np.zeros((1, 1)))
    >>> _ = difference.start(batch)
    >>> _ = model.trainable_variables[0].assign_add([[0.5]])
    >>> round(difference.finish(batch).value, 5)
    3.0
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._before: tuple[Tensor, Tensor, float] | None = None
        self.vectors: tuple[Tensor, Tensor] | None = None

    @property
    def pending(self) -> bool:
        """Whether `start` was called and `finish` was not."""
        return self._before is not None

    def start(self, batch: Any) -> float:
        """Keeps the weights and the gradient of this moment; returns the loss."""
        begin = time.perf_counter()
        loss, gradient, weights = self.objective.snapshot(Batches.of(batch))
        loss = float(loss)
        self._before = weights, gradient, time.perf_counter() - begin
        return loss

    def finish(self, batch: Any) -> Measurement:
        """The curvature since `start`.

        Returns:
            `Measurement` whose residual is the round-off of the two gradients over the distance
            (not the noise of different batches, which one pair cannot tell). Not converged, with
            value NaN, where the weights did not move.
        """
        if self._before is None:
            raise RuntimeError("Call `start` before `finish`. Received: no started measurement")
        begin = time.perf_counter()
        weights, gradient, seconds = self._before
        self._before = None
        _, now, here = self.objective.snapshot(Batches.of(batch))
        step, change = here - weights, now - gradient
        self.vectors = step, change
        moved, changed = _norm(step), _norm(change)
        scale = _norm(gradient) + _norm(now)
        seconds += time.perf_counter() - begin
        if not moved > 0.0 or not np.isfinite(changed):
            return Measurement(float("nan"), float("nan"), 2, False, seconds)
        value = changed / moved
        residual = float(np.finfo(self.objective.dtype).eps) * scale / moved
        return Measurement(value, residual, 2, residual <= 0.1 * value, seconds)

    def block(self, mask: Tensor) -> float:
        """The same quotient over the weights that a 0/1 vector selects, after `finish`."""
        if self.vectors is None:
            raise RuntimeError("Call `finish` before `block`. Received: no finished measurement")
        step, change = self.vectors
        moved = _norm(mask * step)
        return _norm(mask * change) / moved if moved > 0.0 else float("nan")


def _norm(vector) -> float:
    return float(_autodiff.dot(vector, vector)) ** 0.5
