"""The learning rate's course, which all methods share, and rules for its beginning."""

import copy
import math
from typing import ClassVar

import keras
from keras import ops

from keras_h0h1 import LossAdaptiveLearningRate, self_tuning
from keras_h0h1.schedules import AutoC, NormConstrainedLearningRate

NO_END = 1e30
"""The patience that no run has."""

FAST, SLOW = 0.96, 0.99
"""The decays of the two averages in `AutoC`."""

_DIFFERENCE = math.sqrt(
    (1 - FAST) / (1 + FAST)
    + (1 - SLOW) / (1 + SLOW)
    - 2 * (1 - FAST) * (1 - SLOW) / (1 - FAST * SLOW)
)
"""The deviation of their difference in the long run, for independent values of deviation 1."""

DECAY_SHARE = 0.2
"""Share of the updates over which each method's rate falls linearly to 0 at the end."""


def decay(step, updates: float):
    """The factor of the decay at update `step` of `updates`: 1, and a line to 0 at the end."""
    return ops.clip((updates - step) / (DECAY_SHARE * updates), 0.0, 1.0)


class SharedCourse(keras.optimizers.schedules.LearningRateSchedule):
    r"""Linear warm-up, a plateau and a final linear decay, with numbers that are inputs.

    $$\eta_k = \eta \min\{1, (k + 1) / W\} \min\{1, (N - k) / (0.2 N)\}, \qquad k = 0, 1, \dots$$

    The peak rate, the warm-up's length W (0: none) and the run's length N are variables of the
    optimizer: one compiled program serves all rates, lengths and methods that share its form.
    """

    def __init__(self):
        super().__init__()
        self._variables = None

    def attach(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        """Gives `optimizer` the variables, under the names that `trial` sets them by."""
        self._variables = {
            name: optimizer.add_variable((), name=name)
            for name in ("peak_rate", "warmup_updates", "updates")
        }
        return optimizer

    def __call__(self, step):
        value = {k: ops.convert_to_tensor(v) for k, v in self._variables.items()}
        step = ops.cast(step, "float32")
        warmup = ops.minimum((step + 1.0) / ops.maximum(value["warmup_updates"], 1.0), 1.0)
        return value["peak_rate"] * warmup * decay(step, value["updates"])


class ConstantCourse(SharedCourse):
    """The same without the decay at the end, for methods that average instead of decaying."""

    def __call__(self, step):
        value = {k: ops.convert_to_tensor(v) for k, v in self._variables.items()}
        step = ops.cast(step, "float32")
        warmup = ops.minimum((step + 1.0) / ops.maximum(value["warmup_updates"], 1.0), 1.0)
        return value["peak_rate"] * warmup


class RepeatedWarmup(SharedCourse):
    """The course with a second warm-up, as long as the first, from the middle of the run on."""

    def __call__(self, step):
        value = {k: ops.convert_to_tensor(v) for k, v in self._variables.items()}
        updates = ops.cast(step, "float32") + 1.0
        middle = ops.floor(value["updates"] / 2.0)
        updates = ops.where(updates > middle, updates - middle, updates)
        warmup = ops.minimum(updates / ops.maximum(value["warmup_updates"], 1.0), 1.0)
        return value["peak_rate"] * warmup * decay(ops.cast(step, "float32"), value["updates"])


class TunableRule(LossAdaptiveLearningRate):
    """`LossAdaptiveLearningRate(base, C=AutoC(...))` whose constants are inputs.

    The constants are variables of the optimizer, as those of `SharedCourse`, so that a study of
    many of them compiles once. The arithmetic is the library's own.
    """

    INPUTS: ClassVar = {
        "fraction": 0.5,
        "rho": 1.0,
        "min_steps": 1.0,
        "tolerance": 0.05,
        "patience": NO_END,
        "smoothing": 0.0,
    }

    def __init__(self, base: keras.optimizers.schedules.LearningRateSchedule):
        super().__init__(base, smoothing=0.0)

    def initial_state(self) -> dict[str, float]:
        return super().initial_state() | self.INPUTS

    def update(self, state, loss, gradient_norm=None):
        rule = copy.copy(self)
        rule._in_use = False
        rule.C = object.__new__(AutoC)
        for name in ("fraction", "min_steps", "tolerance", "patience"):
            object.__setattr__(rule.C, name, state[name])
        object.__setattr__(rule.C, "first", 1)
        rule.rho, rule.smoothing = state["rho"], state["smoothing"]
        return LossAdaptiveLearningRate.update(rule, state, loss, gradient_norm)


class RetreatingRule(TunableRule):
    r"""The same, and its factor retreats where the loss rises: the second round of development.

    $$\text{factor}_k \le a_k, \qquad a_{k+1} = \begin{cases}
    (1 - 1/S)\,a_k & \text{where } \bar f_\text{fast} - \bar f_\text{slow} > z \nu \sigma\\
    \min\{1, a_k + 1/R\} & \text{else}\end{cases}$$

    with the two moving averages of `AutoC`, the deviation $\sigma$ of the losses from the fast
    one, and the deviation $\nu$ of the averages' difference for independent losses of deviation 1.
    The inputs are $z$, `threshold`, $R$, `recovery`, and $S$, `shrink`.
    """

    INPUTS: ClassVar = {
        **TunableRule.INPUTS,
        "threshold": NO_END,
        "recovery": 300.0,
        "shrink": 25.0,
    }

    def initial_state(self) -> dict[str, float]:
        return super().initial_state() | {"cap": 1.0, "square": 0.0}

    def update(self, state, loss, gradient_norm=None):
        new = super().update(state, loss, gradient_norm)
        count = ops.maximum(new["count"], 1.0)
        before = self_tuning.unbiased(state["fast_average"], ops.maximum(count - 1.0, 1.0), FAST)
        before = ops.where(count > 1.0, before, loss)
        new["square"] = self_tuning.moving_average(state["square"], (loss - before) ** 2, SLOW)
        deviation = ops.sqrt(self_tuning.unbiased(new["square"], count, SLOW))
        fast = self_tuning.unbiased(new["fast_average"], count, FAST)
        slow = self_tuning.unbiased(new["slow_average"], count, SLOW)
        # A constant loss has no deviation, and the averages' rounding must not count as a rise.
        limit = state["threshold"] * _DIFFERENCE * deviation + 1e-4 * ops.abs(slow)
        rises = fast - slow > limit
        rises = ops.logical_and(rises, count >= 25.0)
        recovered = ops.minimum(state["cap"] + 1.0 / state["recovery"], 1.0)
        new["cap"] = ops.where(rises, state["cap"] * (1.0 - 1.0 / state["shrink"]), recovered)
        new["factor"] = new["risen"] = ops.minimum(new["factor"], new["cap"])
        return new


class TunableNormConstrained(NormConstrainedLearningRate):
    """`NormConstrainedLearningRate` whose peak gap is a share of the first gap, an input.

    The warm-up half alone, as its authors use it: the decay is that of the course.
    """

    def __init__(self, base: keras.optimizers.schedules.LearningRateSchedule):
        super().__init__(base, peak_gap=1.0, decay=False)

    def initial_state(self) -> dict[str, float]:
        return super().initial_state() | {"fraction": 0.5}

    def update(self, state, loss, gradient_norm=None):
        rule = copy.copy(self)
        rule._in_use = False
        gap = ops.maximum(loss - self._f_star, self.eps)
        first = ops.where(state["first_gap"] > 0.0, state["first_gap"], gap)
        rule.peak_gap = state["fraction"] * first
        return NormConstrainedLearningRate.update(rule, state, loss, gradient_norm)
