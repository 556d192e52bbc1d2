"""What a workload has to say about itself, and the register of all workloads."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable

import keras
import numpy as np

Arrays = tuple[np.ndarray, ...]

DEVELOPMENT, TEST, SITUATION, CORRUPTED = "development", "test", "situation", "corrupted"
EVIDENCE, EVIDENCE_SITUATION, SIZE = "evidence", "evidence situation", "size"
FURTHER_DEVELOPMENT = "further development"


@dataclasses.dataclass(frozen=True)
class Workload:
    """A small training whose every input is a function of the seed.

    Args:
        name: The name of its file.
        kind: `"development"` and `"further development"`: a rule may be chosen on it; `"test"`: it
            is run once, with the rule as it is; `"situation"`: the same, for a change that a step
            count cannot see; `"corrupted"`: for the study of the spike guard; `"evidence"`: for
            the study of that name alone, which the test workloads take part in as well;
            `"evidence situation"`: for the study `situations`; `"size"`: for the study `sizes`.
        description: One sentence for the report.
        version: Goes up whenever a change alters the results: old ones are then not taken for new.
        updates: Number of updates.
        rates: The grid of peak rates, ascending.
        model: From the seed, a model that is built and not compiled.
        optimizer: From a learning rate schedule, the optimizer with its other habitual values.
        training: From a seed and a number of updates, the batches: arrays of shape
            `(updates, batch, ...)`, `(x, y)` or `(x,)`.
        held_out: The batches that the final loss is measured on, in the same form.
        trivial_loss: The held-out loss of the best predictor that does not look at its input.
        compile: Fresh arguments for `model.compile`, without the optimizer; nothing for a model
            with a `train_step` of its own.
        metric: The entry of the evaluation's logs that is recorded beside the loss.
        other_held_out: Further batches that a loss is recorded of and that no score counts.
        evaluations: How many times in a run the held-out loss is recorded; 0: at its end alone.
        start: From the seed, the values of the model's weights at the start, or `None` for those
            that the model was built with.
    """

    name: str
    kind: str
    description: str
    version: int
    updates: int
    rates: tuple[float, ...]
    model: Callable[[int], keras.Model]
    optimizer: Callable[..., keras.optimizers.Optimizer]
    training: Callable[[int, int], Arrays]
    held_out: Callable[[], Arrays]
    trivial_loss: Callable[[], float]
    compile: Callable[[], dict] = dict
    metric: str | None = None
    other_held_out: Callable[[], Arrays] | None = None
    evaluations: int = 0
    start: Callable[[int], list[np.ndarray]] | None = None


def workload_names() -> list[str]:
    """The names of all workloads, in alphabetical order; reads no data."""
    from benchmarks.quality import workloads

    return sorted(module.name for module in pkgutil.iter_modules(workloads.__path__))


def load_workload(name: str) -> Workload:
    """The workload of that name; `NAME@CHANGE` is one of `variants`.

    Raises:
        ValueError: If there is none.
    """
    name, _, change = name.partition("@")
    if name not in workload_names():
        raise ValueError(
            f"There is no such workload; there are {', '.join(workload_names())}. "
            f"Received: workload={name}"
        )
    found = importlib.import_module(f"benchmarks.quality.workloads.{name}").WORKLOAD
    if not change:
        return found
    from benchmarks.quality.variants import varied

    return varied(found, change)
