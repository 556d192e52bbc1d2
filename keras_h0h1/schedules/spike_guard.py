"""A short step for a batch whose loss is far above the recent losses."""

import dataclasses
from typing import Any

from keras import ops

from keras_h0h1 import self_tuning
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_number

_DECAY = 0.98
# Before that many losses mean and deviation are noise.
_FEWEST = 20
# Of the mean. Losses may be equal to the last digit, and then any change would be a spike.
_LEAST_DEVIATION = 0.01


@dataclasses.dataclass(frozen=True)
class SpikeGuard:
    r"""Shortens the step of a batch whose loss is a spike.

    $$\text{factor}_k = \frac{1}{\max\{1, z_k / z_\text{max}\}^2}, \qquad
    z_k = \frac{f_k - \bar f}{\sigma}$$

    with mean $\bar f$ and standard deviation $\sigma$ of the recent losses: exponential moving
    averages with decay 0.98, about the last 50 losses. A corrupted batch (wrong labels, damaged
    text) has a large loss, and it is known before its step is taken. A spike enters the averages
    as a loss of $\bar f + z_\text{max} \sigma$, so one spike does not hide the next, and a loss
    that stays high (other data) counts as usual after some tens of steps. The guard begins with
    the 21st loss.

    Args:
        threshold: Float > 0, $z_\text{max}$ in standard deviations.
    """

    threshold: float

    def __post_init__(self) -> None:
        value = check_number("spike_threshold", self.threshold, low=0.0, strict=True)
        object.__setattr__(self, "threshold", value)

    def constants(self) -> dict[str, float]:
        """The numbers that must be usable in the dtype of the state."""
        return {"spike_threshold": self.threshold}

    def initial_state(self) -> dict[str, float]:
        """The scalars that are remembered."""
        return {"spike_count": 0.0, "spike_mean": 0.0, "spike_variance": 0.0, "spike_factor": 1.0}

    def update(self, state: dict[str, Any], loss: Tensor) -> dict[str, Any]:
        """The entries after a finite loss; `spike_factor` is what multiplies the rate."""
        count, mean = state["spike_count"], state["spike_mean"]
        deviation = ops.maximum(ops.sqrt(state["spike_variance"]), _LEAST_DEVIATION * ops.abs(mean))
        watching = ops.logical_and(count >= float(_FEWEST), deviation > 0.0)
        deviation = ops.where(watching, deviation, ops.ones_like(loss))
        factor = self_tuning.spike_factor(loss, mean, deviation, self.threshold)
        counted = ops.where(watching, ops.minimum(loss, mean + self.threshold * deviation), loss)
        # Equal weights at first, as if the start-up bias were removed.
        weight = ops.maximum(1.0 / (count + 1.0), 1.0 - _DECAY)
        change = counted - mean
        return {
            "spike_count": count + 1.0,
            "spike_mean": mean + weight * change,
            "spike_variance": (1.0 - weight) * (state["spike_variance"] + weight * change**2),
            "spike_factor": ops.where(watching, factor, ops.ones_like(loss)),
        }
