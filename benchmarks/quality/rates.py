"""The learning rate's course, which all methods share, and rules for its beginning."""

import keras
from keras import ops

from keras_h0h1 import step_sizes
from keras_h0h1.schedules.base import LossDrivenSchedule

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


class FirstLossRule(LossDrivenSchedule):
    r"""The papers' practical rule with a constant in units of the first batch's loss.

    $$\eta_k = \eta_\text{base}(k) / \max\{1, (f_k / C)^\rho\}, \qquad C = \kappa f_0$$

    It is `keras_h0h1.LossAdaptiveLearningRate(base, C=kappa * f0, rho=rho)` with the first finite
    loss as f0, and with constants that are inputs, as those of `SharedCourse`.
    """

    def __init__(self, base: keras.optimizers.schedules.LearningRateSchedule):
        super().__init__()
        self.base = base

    def initial_state(self) -> dict[str, float]:
        return {"factor": 1.0, "first_loss": 0.0, "kappa": 0.5, "rho": 1.0}

    def update(self, state, loss, gradient_norm=None):
        first = ops.where(state["first_loss"] > 0.0, state["first_loss"], loss)
        constant = ops.maximum(state["kappa"] * first, 1e-30)
        factor = step_sizes.practical_factor(loss, constant, rho=state["rho"])
        return {"first_loss": first, "factor": factor}

    def base_rate(self, step, state):
        return ops.cast(self.base(step), "float32")

    def get_config(self) -> dict:
        return {"base": self.base}
