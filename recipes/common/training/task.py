"""What a recipe hands to the training loop."""

import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Task:
    """Data and names for `run_training`.

    Args:
        batches: From a number of micro-batches to an endless iterator of `(x, y)` that starts
            after so many; a pure function, so that a resumed run sees the same data. Of several
            hosts each has its own part of every batch: see `Devices.local`.
        validation: Held-out `(x, y)`, all of them used. A number that `evaluation_batch` does not
            divide costs one more compilation.
        unit: What the speed is counted in: `"tokens"`, `"images"`.
        units_per_update: How many of them one update takes.
        baselines: Validation losses to beat, by name, such as that of the unigram model.
        source: Which data, for `summary.json`.
        evaluation_batch: Examples in a batch of the evaluation; `batch_size` by default.
        metrics: Names of the compiled metrics, each a mean over examples, that are written
            wherever the loss is.
        waiting: The share of the time so far that was spent waiting for data, 0 to 1.
        export: Writes the finished model, with the weights that were evaluated.
    """

    batches: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]
    validation: tuple[np.ndarray, np.ndarray]
    unit: str
    units_per_update: int
    baselines: dict[str, float]
    source: str
    evaluation_batch: int | None = None
    metrics: tuple[str, ...] = ()
    waiting: Callable[[], float] | None = None
    export: Callable[[keras.Model], None] = lambda model: None


def evaluation_batch(examples: int, batch_size: int) -> int:
    """A size of about `batch_size` that divides the held-out examples, if there is one.

    A last batch of another size is evaluated correctly too, but compiles the model once more.

    Example:

    >>> evaluation_batch(10000, 128), evaluation_batch(360, 64), evaluation_batch(359, 64)
    (125, 60, 64)
    """
    fitting = [n for n in range(batch_size // 2, 2 * batch_size + 1) if n and examples % n == 0]
    return min(fitting, key=lambda n: abs(n - batch_size), default=min(batch_size, examples))
