"""What a suggestion costs, in training steps."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from keras_h0h1 import _autodiff

# Training steps that a Hessian product counts as: two gradients.
PRODUCT = 2


class Cost:
    """Counts and times updates and Hessian products.

    Args:
        total: Training steps that all of it may take.
        progress: Called with the steps so far and `total` after each; `None`: nothing is.
    """

    def __init__(self, total: int, progress: Callable[[int, int], Any] | None) -> None:
        self._total, self._progress = total, progress
        self._updates: list[float] = []
        self._products: list[float] = []

    def update(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, an update that returns a number of the host, counted."""
        return self._counted(function, self._updates, lambda result: None)

    def product(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, a product that returns a tensor, counted."""
        return self._counted(function, self._products, lambda result: _autodiff.wait([result]))

    def _counted(self, function, durations, wait):
        def counted(argument):
            begin = time.perf_counter()
            result = function(argument)
            wait(result)
            durations.append(time.perf_counter() - begin)
            if self._progress is not None:
                done = len(self._updates) + PRODUCT * len(self._products)
                self._progress(min(done, self._total), self._total)
            return result

        return counted

    @property
    def taken(self) -> float | None:
        """The time of everything in that of a median update, as if all was compiled before.

        `None` before the second update.
        """
        if len(self._updates) < 2:
            return None
        # The first of each compiles.
        median = statistics.median(self._updates[1:])
        if not self._products or median == 0.0:
            return float(len(self._updates))
        product = statistics.median(self._products[1:] or self._products)
        return len(self._updates) + len(self._products) * product / median
