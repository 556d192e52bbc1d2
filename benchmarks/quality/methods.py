"""The methods that are compared. A new one is one more entry of `FAMILIES`."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from benchmarks.quality.rates import (
    ConstantCourse,
    RepeatedWarmup,
    RetreatingRule,
    SharedCourse,
    TunableNormConstrained,
    TunableRule,
)
from benchmarks.quality.schedule_free import ScheduleFree
from benchmarks.quality.workload import Workload
from keras_h0h1 import AdaptiveGD, LossAdaptiveLearningRate, LossAware, warmup_factors
from keras_h0h1.optimizers import NGNMD, MoMoAdam
from keras_h0h1.schedules import RectifiedWarmup

ANY, ADAM, SGD = "any", "Adam", "SGD"
"""The optimizers of the workloads that a family can be used on."""


@dataclasses.dataclass(frozen=True)
class Family:
    """How a kind of method makes an optimizer, and which of its constants are mere inputs.

    Args:
        build: From a workload, the shared course of the rate and the constants, the optimizer.
        inputs: From a built optimizer's attributes, the updates and the constants, the values of
            optimizer variables by name. What is set here needs no compilation of its own.
        traced: Names of the constants that the compiled program depends on.
        form: Families of the same form share a program where `traced` agrees.
        course: The class of the shared course.
        optimizers: `ANY`, `ADAM` (workloads whose optimizer has a `beta_2`) or `SGD`.
        rateless: Whether the peak rate has no effect: one rate is tried then.
        named: Whether the method's name states its constants with their names.
        factor: From a built optimizer, the numbers 1, 2, ... of the updates and the constants, the
            factor on the warmed-up course that the loss has no part in, for the record alone.
    """

    build: Callable[[Workload, SharedCourse, dict], keras.optimizers.Optimizer]
    inputs: Callable[[Any, int, dict], dict[str, float]] = lambda optimizer, updates, c: {}
    traced: Callable[[dict], dict] = lambda constants: {}
    form: str = "plain"
    course: type[SharedCourse] = SharedCourse
    optimizers: str = ANY
    rateless: bool = False
    named: bool = False
    factor: Callable[[Any, np.ndarray, dict], np.ndarray | float] = lambda optimizer, t, c: 1.0


def _plain(workload, course, constants):
    return course.attach(workload.optimizer(course))


def _tunable(workload, course, constants):
    return LossAware(course.attach(workload.optimizer(TunableRule(course))))


def _retreating(workload, course, constants):
    return LossAware(course.attach(workload.optimizer(RetreatingRule(course))))


def _library(workload, course, constants):
    rule = LossAdaptiveLearningRate(course, **constants)
    return LossAware(course.attach(workload.optimizer(rule)))


def _paper(workload, course, constants):
    return _library(workload, course, {**constants, "rho": 1.0})


def _norm_constrained(workload, course, constants):
    return LossAware(course.attach(workload.optimizer(TunableNormConstrained(course))))


def _rectified(workload, course, constants):
    beta_2 = workload.optimizer(1e-3).beta_2
    return course.attach(workload.optimizer(RectifiedWarmup(course, beta_2)))


def _adams(workload) -> dict[str, Any]:
    """What the workload's Adam is made of, apart from the rate, for optimizers in its place."""
    config = workload.optimizer(1e-3).get_config()
    names = ("beta_1", "beta_2", "epsilon", "weight_decay")
    return {name: config[name] for name in (*names, "clipnorm", "clipvalue", "global_clipnorm")}


def _schedule_free(workload, course, constants):
    return course.attach(ScheduleFree(course, **_adams(workload)))


def _loss_driven(optimizer_class):
    def build(workload, course, constants):
        optimizer = optimizer_class(course, **_adams(workload))
        course.attach(optimizer.inner_optimizer)
        return optimizer

    return build


def _adaptive_gd(workload, course, constants):
    # It has no rate, and so no cap: the course is attached for its variables alone.
    optimizer = AdaptiveGD()
    course.attach(optimizer.inner_optimizer)
    return optimizer


def _percent(optimizer, updates, constants):
    return {"warmup_updates": constants["percent"] / 100 * updates}


def _again(optimizer, updates, constants):
    # The second warm-up alone: the record has the first one already.
    count = len(updates)
    length = max(constants["percent"] / 100 * count, 1.0)
    return np.where(updates > count // 2, np.minimum((updates - count // 2) / length, 1.0), 1.0)


def _untuned(optimizer, updates, constants):
    # Jerry Ma and Denis Yarats, "On the adequacy of untuned warmup for adaptive optimization",
    # arXiv 1910.04209: a linear warm-up over 2 / (1 - beta_2) updates.
    return {"warmup_updates": 2.0 / (1.0 - optimizer.beta_2)}


SECOND_RULE = {
    "fraction": 0.6,
    "rho": 2.0,
    "min_steps": 100.0,
    "patience": 100.0,
    "threshold": 4.0,
    "recovery": 3000.0,
}

FAMILIES: dict[str, Family] = {
    "none": Family(_plain),
    # percent: of the updates.
    "linear": Family(_plain, _percent),
    # steps: in updates, whatever the length of the run.
    "linear-steps": Family(_plain, lambda optimizer, updates, c: {"warmup_updates": c["steps"]}),
    # percent: of the updates, at the start and again in the middle of the run.
    "linear-again": Family(
        _plain, _percent, form="linear-again", course=RepeatedWarmup, factor=_again
    ),
    "untuned-linear": Family(_plain, _untuned, optimizers=ADAM),
    # Those of TunableRule.INPUTS: C is `fraction` times the first loss.
    "auto": Family(_tunable, lambda optimizer, updates, c: c, form="tunable", named=True),
    # Those of RetreatingRule.INPUTS.
    "retreating": Family(
        _retreating, lambda optimizer, updates, c: c, form="retreating", named=True
    ),
    # The rule of the second round of development that the study `evidence` was run with as well.
    "self-tuned-2": Family(
        _retreating, lambda optimizer, updates, c: dict(SECOND_RULE), form="retreating"
    ),
    # Whatever LossAdaptiveLearningRate takes.
    "self-tuned": Family(_library, traced=lambda constants: constants, form="library", named=True),
    # C: in units of the loss.
    "paper": Family(_paper, traced=lambda constants: constants, form="paper", named=True),
    "radam": Family(
        _rectified,
        form="radam",
        optimizers=ADAM,
        factor=lambda optimizer, t, c: warmup_factors.rectification(t, optimizer.beta_2),
    ),
    # percent: of the updates, the length of its own warm-up.
    "schedule-free": Family(
        _schedule_free,
        _percent,
        form="schedule-free",
        course=ConstantCourse,
        optimizers=ADAM,
    ),
    "momo-adam": Family(_loss_driven(MoMoAdam), form="momo-adam", optimizers=ADAM),
    "ngn-md": Family(_loss_driven(NGNMD), form="ngn-md", optimizers=ADAM),
    # fraction: the gap of the peak rate over the first one. arXiv 2602.05813.
    "norm-constrained": Family(
        _norm_constrained,
        lambda optimizer, updates, c: c,
        form="norm-constrained",
        optimizers=ADAM,
        named=True,
    ),
    "adaptive-gd": Family(_adaptive_gd, form="adaptive-gd", optimizers=SGD, rateless=True),
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
        named = FAMILIES[self.family].named
        return [f"{k}={v}" if named else v for k, v in self.constants.items()]

    @property
    def form(self) -> str:
        """Methods of equal form share one compiled program."""
        family = FAMILIES[self.family]
        return family.form + json.dumps(family.traced(self.constants), sort_keys=True)

    def build(self, workload: Workload) -> keras.optimizers.Optimizer:
        """A new optimizer whose rate follows the method."""
        family = FAMILIES[self.family]
        return family.build(workload, family.course(), self.constants)

    def inputs(self, optimizer, updates: int) -> dict[str, float]:
        """Values of variables of `optimizer` by name, apart from the peak rate and `updates`."""
        values = FAMILIES[self.family].inputs(optimizer, updates, self.constants)
        return {"warmup_updates": 0.0} | values

    def factor(self, optimizer, updates: int) -> np.ndarray | float:
        """The factor of each update that the loss has no part in, for the record alone."""
        return FAMILIES[self.family].factor(optimizer, np.arange(1, updates + 1), self.constants)

    def suits(self, workload: Workload) -> bool:
        """Whether the method can be used there, by the workload's optimizer."""
        adaptive = hasattr(workload.optimizer(1e-3), "beta_2")
        return FAMILIES[self.family].optimizers in (ANY, ADAM if adaptive else SGD)

    def wanted(self, names: Sequence[str] | None) -> bool:
        """Whether its name or its family is one of `names`, or there are none."""
        return not names or bool({self.name, self.family} & set(names))

    def rates(self, grid: tuple[float, ...]) -> tuple[float, ...]:
        """Those of the grid that are tried: the middle one alone where the rate has no effect."""
        return grid[len(grid) // 2 :][:1] if FAMILIES[self.family].rateless else grid


NONE = Method("none")
LINEAR = tuple(Method("linear", {"percent": percent}) for percent in (5, 10, 20, 40))
UNTUNED = Method("untuned-linear")
RADAM = Method("radam")
SCHEDULE_FREE = Method("schedule-free", {"percent": 5})
MOMO_ADAM, NGN_MD = Method("momo-adam"), Method("ngn-md")
FRACTIONS = (0.1, 0.2, 0.4, 0.8)
"""Shares of the first loss, a factor of 2 apart as the lengths of `LINEAR` are."""
PAPER = tuple(Method("auto", {"fraction": fraction, "rho": 1.0}) for fraction in FRACTIONS)
NORM_CONSTRAINED = tuple(Method("norm-constrained", {"fraction": f}) for f in FRACTIONS)
LINEAR_AGAIN = Method("linear-again", {"percent": 20})
ADAPTIVE_GD = Method("adaptive-gd")
