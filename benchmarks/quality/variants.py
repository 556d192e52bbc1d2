"""A workload with one number changed: `gpt_code@batch=4` is `gpt_code` at four times the batch."""

import dataclasses
import functools
import inspect
from collections.abc import Callable

from benchmarks.quality.workload import Workload

GPU = "gpu"
"""Eight times the batch and four times the updates: what an accelerator has time for."""


def varied(workload: Workload, change: str) -> Workload:
    """The workload under the name `NAME@CHANGE`.

    Args:
        workload: The one to change.
        change: `"batch=F"`, `"length=F"` (of the run, in updates), `"width=F"` or `"depth=F"`,
            with the factor F; or `"gpu"`. Width and depth need a `model` that takes them.

    Raises:
        ValueError: If the workload has no such number, or the factor leaves nothing whole of it.
    """
    name = f"{workload.name}@{change}"
    if change == GPU:
        larger = _batch(_length(workload, 4.0), 8.0)
        return dataclasses.replace(larger, name=name)
    what, _, factor = change.partition("=")
    if what not in _CHANGES:
        raise ValueError(
            f"A workload's change must be one of {', '.join(_CHANGES)} with a factor, as in "
            f"`batch=4`, or {GPU}. Received: change={change}"
        )
    return dataclasses.replace(_CHANGES[what](workload, float(factor)), name=name)


def _length(workload: Workload, factor: float) -> Workload:
    return dataclasses.replace(workload, updates=_whole("length", workload.updates * factor))


def _batch(workload: Workload, factor: float) -> Workload:
    def training(seed: int, updates: int):
        if factor < 1.0:
            return tuple(
                array[:, : _whole("batch", array.shape[1] * factor)]
                for array in workload.training(seed, updates)
            )
        several = _whole("batch", factor)
        arrays = workload.training(seed, updates * several)
        return tuple(array.reshape(updates, -1, *array.shape[2:]) for array in arrays)

    return dataclasses.replace(workload, training=training)


def _model(argument: str) -> Callable[[Workload, float], Workload]:
    def change(workload: Workload, factor: float) -> Workload:
        parameters = inspect.signature(workload.model).parameters
        if argument not in parameters:
            raise ValueError(
                f"The workload's model must take `{argument}`. Received: workload={workload.name}"
            )
        value = _whole(argument, parameters[argument].default * factor)
        model = functools.partial(workload.model, **{argument: value})
        return dataclasses.replace(workload, model=model)

    return change


def _whole(name: str, value: float) -> int:
    if value < 1.0 or value != round(value):
        raise ValueError(
            f"The factor must leave a positive whole number of `{name}`. Received: {name}={value:g}"
        )
    return round(value)


_CHANGES: dict[str, Callable[[Workload, float], Workload]] = {
    "batch": _batch,
    "length": _length,
    "width": _model("width"),
    "depth": _model("depth"),
}
