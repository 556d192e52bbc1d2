"""The methods that are compared. A new one is one more entry of `FAMILIES`."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import keras

from benchmarks.quality.rates import SharedCourse, TunableRule
from benchmarks.quality.workload import Workload
from keras_h0h1 import LossAdaptiveLearningRate, LossAware


@dataclasses.dataclass(frozen=True)
class Family:
    """How a kind of method makes an optimizer, and which of its constants are mere inputs.

    Args:
        build: From a workload, the shared course of the rate and the constants, the optimizer.
        inputs: From a built optimizer's attributes, the updates and the constants, the values of
            optimizer variables by name. What is set here needs no compilation of its own.
        traced: Names of the constants that the compiled program depends on.
        form: Families of the same form share a program where `traced` agrees.
    """

    build: Callable[[Workload, SharedCourse, dict], keras.optimizers.Optimizer]
    inputs: Callable[[Any, int, dict], dict[str, float]] = lambda optimizer, updates, c: {}
    traced: Callable[[dict], dict] = lambda constants: {}
    form: str = "plain"


def _plain(workload, course, constants):
    return course.attach(workload.optimizer(course))


def _tunable(workload, course, constants):
    return LossAware(course.attach(workload.optimizer(TunableRule(course))))


def _library(workload, course, constants):
    rule = LossAdaptiveLearningRate(course, **constants)
    return LossAware(course.attach(workload.optimizer(rule)))


def _untuned(optimizer, updates, constants):
    # J. Ma and D. Yarats, "On the adequacy of untuned warmup for adaptive optimization",
    # arXiv 1910.04209: a linear warm-up over 2 / (1 - beta_2) updates.
    return {"warmup_updates": 2.0 / (1.0 - optimizer.beta_2)}


FAMILIES: dict[str, Family] = {
    "none": Family(_plain),
    # percent: of the updates.
    "linear": Family(
        _plain, lambda optimizer, updates, c: {"warmup_updates": c["percent"] / 100 * updates}
    ),
    "untuned-linear": Family(_plain, _untuned),
    # Those of TunableRule.INPUTS: C is `fraction` times the first loss.
    "auto": Family(_tunable, lambda optimizer, updates, c: c, form="tunable"),
    # Whatever LossAdaptiveLearningRate takes.
    "self-tuned": Family(_library, traced=lambda constants: constants, form="library"),
}


@dataclasses.dataclass(frozen=True)
class Method:
    """A family with its constants.

    Args:
        family: One of `FAMILIES`.
        constants: What stands in the trial's record.
    """

    family: str
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """How tables call it, such as `linear-20` or `auto-fraction=0.5-rho=2`."""
        parts = [f"{v:g}" if isinstance(v, int | float) else str(v) for v in self._values()]
        return "-".join([self.family, *parts])

    def _values(self):
        named = self.family in ("auto", "self-tuned")
        return [f"{k}={v}" if named else v for k, v in self.constants.items()]

    @property
    def form(self) -> str:
        """Methods of equal form share one compiled program."""
        family = FAMILIES[self.family]
        return family.form + json.dumps(family.traced(self.constants), sort_keys=True)

    def build(self, workload: Workload) -> keras.optimizers.Optimizer:
        """A new optimizer whose rate follows the method."""
        return FAMILIES[self.family].build(workload, SharedCourse(), self.constants)

    def inputs(self, optimizer, updates: int) -> dict[str, float]:
        """Values of variables of `optimizer` by name, apart from the peak rate and `updates`."""
        values = FAMILIES[self.family].inputs(optimizer, updates, self.constants)
        return {"warmup_updates": 0.0} | values

    def suits(self, workload: Workload) -> bool:
        """Whether the method can be used there: untuned warm-up needs a `beta_2`."""
        adaptive = hasattr(workload.optimizer(1e-3), "beta_2")
        return adaptive or self.family != "untuned-linear"


NONE = Method("none")
LINEAR = tuple(Method("linear", {"percent": percent}) for percent in (5, 10, 20, 40))
UNTUNED = Method("untuned-linear")
