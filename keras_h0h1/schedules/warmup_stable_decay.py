"""Linear warm-up, a plateau, a final decay."""

import math
import numbers

import keras
from keras import ops

from keras_h0h1 import warmup_factors
from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_choice, check_integer, check_number


@keras.saving.register_keras_serializable("keras_h0h1")
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    r"""Linear warm-up to a plateau at the peak rate, and a decay at the end of the run.

    The trapezoidal schedule, "WSD". With update $k = 0, 1, \dots$ of $N$, warm-up length $W$ and
    decay length $D$

    $$\eta_k = \begin{cases}
    \eta \, (k + 1) / W & k < W \\
    \eta & W \le k \le N - D \\
    \eta_{\text{end}} + (\eta - \eta_{\text{end}}) \, \delta\big((k - N + D) / D\big) & k > N - D
    \end{cases}$$

    with $\delta(u) = 1 - u$, $(1 + \cos \pi u) / 2$ or $1 - \sqrt u$. The first update has the
    rate $\eta / W$, not 0, and update $W - 1$ the peak; the last one, $N - 1$, has not quite
    reached $\eta_{\text{end}}$, which holds from $k = N$ on. `optax` and Hugging Face begin at 0:
    theirs is this schedule one update later, with a first update that moves nothing.

    With a loss-driven factor in place of the warm-up:
    `LossAdaptiveLearningRate(WarmupStableDecay(1e-3, 10_000, decay_steps=0.2), C=4.0)`.

    Args:
        peak_learning_rate: Float > 0, the plateau's rate $\eta$.
        total_steps: Integer, updates in the whole run, $N$.
        warmup_steps: Updates of linear warm-up, $W$: an integer counts updates, a float in [0, 1]
            is a fraction of `total_steps`, rounded to whole updates. Note that `1` is one update
            and `1.0` the whole run. Defaults to `0`, no warm-up.
        decay_steps: Updates of final decay, $D$, in the same way. Defaults to `0`, no decay.
        final_learning_rate: Float >= 0, $\eta_{\text{end}}$. Defaults to `0.0`.
        steps_per_update: Integer, micro-batches accumulated for one update: the optimizer's
            `gradient_accumulation_steps`. Keras hands a schedule the count of *micro-batches*;
            this argument turns it back into updates. Defaults to `1`.
        decay_type: `"linear"`, `"cosine"` or `"1-sqrt"`. Defaults to `"linear"`.

    Raises:
        TypeError, ValueError: If a number is of the wrong kind or out of range, or if warm-up and
            decay together are longer than the run.

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025): 20% of
            linear decay to 1e-5 after each schedule compared.
        Alexander Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
            Durations", arXiv 2405.18392 (2024): the schedule for training, the decay `"1-sqrt"`.

    Example: 40% of ten updates is the warm-up, the last two the decay.

    >>> from keras_h0h1.schedules import WarmupStableDecay
    >>> schedule = WarmupStableDecay(1.0, 10, warmup_steps=0.4, decay_steps=2)
    >>> [float(schedule(k)) for k in range(10)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    """

    def __init__(
        self,
        peak_learning_rate: float,
        total_steps: int,
        warmup_steps: int | float = 0,
        decay_steps: int | float = 0,
        final_learning_rate: float = 0.0,
        steps_per_update: int = 1,
        decay_type: str = "linear",
    ) -> None:
        super().__init__()
        self.peak_learning_rate = check_number(
            "peak_learning_rate", peak_learning_rate, low=0, strict=True
        )
        self.total_steps = check_integer("total_steps", total_steps, low=1)
        warmup = _exact_steps("warmup_steps", warmup_steps, self.total_steps)
        decay = _exact_steps("decay_steps", decay_steps, self.total_steps)
        self.final_learning_rate = check_number("final_learning_rate", final_learning_rate, low=0)
        self.steps_per_update = check_integer("steps_per_update", steps_per_update, low=1)
        self.decay_type = check_choice("decay_type", decay_type, warmup_factors.DECAY_TYPES)
        # Fractions such as 0.7 and 0.3 add up to 1 but for rounding.
        if warmup + decay > self.total_steps * (1.0 + 1e-9):
            raise ValueError(
                "Warm-up and decay together must not be longer than the run. "
                f"Received: warmup_steps={warmup_steps!r}, decay_steps={decay_steps!r}, "
                f"total_steps={total_steps!r}"
            )
        self.warmup_steps = round(warmup)
        # 0.3 and 0.7 of 5 updates round to 2 and 4.
        self.decay_steps = min(round(decay), self.total_steps - self.warmup_steps)

    @classmethod
    def from_epochs(
        cls,
        peak_learning_rate: float,
        epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        decay_epochs: float = 0.0,
        final_learning_rate: float = 0.0,
        steps_per_update: int = 1,
        decay_type: str = "linear",
    ) -> "WarmupStableDecay":
        """The schedule with its durations in epochs.

        Args:
            peak_learning_rate: Float > 0, the plateau's rate.
            epochs: Integer, epochs in the whole run: the `epochs` of `fit`.
            steps_per_epoch: Integer, batches in an epoch: `len(dataset)`, or
                `ceil(examples / batch_size)`.
            warmup_epochs: Float >= 0, epochs of linear warm-up; need not be whole. Defaults to
                `0.0`.
            decay_epochs: Float >= 0, epochs of final decay. Defaults to `0.0`.
            final_learning_rate: Float >= 0. Defaults to `0.0`.
            steps_per_update: Integer, as in the constructor; `steps_per_epoch` counts
                micro-batches. Defaults to `1`.
            decay_type: As in the constructor. Defaults to `"linear"`.

        Raises:
            TypeError, ValueError: As the constructor, and if there is less than one update.

        Example:

        >>> from keras_h0h1.schedules import WarmupStableDecay
        >>> schedule = WarmupStableDecay.from_epochs(
        ...     1e-3, epochs=10, steps_per_epoch=391, warmup_epochs=0.5, decay_epochs=2)
        >>> schedule.total_steps, schedule.warmup_steps, schedule.decay_steps
        (3910, 196, 782)
        """
        epochs = check_integer("epochs", epochs, low=1)
        steps_per_epoch = check_integer("steps_per_epoch", steps_per_epoch, low=1)
        steps_per_update = check_integer("steps_per_update", steps_per_update, low=1)
        warmup = check_number("warmup_epochs", warmup_epochs, low=0.0)
        decay = check_number("decay_epochs", decay_epochs, low=0.0)
        if warmup + decay > epochs * (1.0 + 1e-9):
            raise ValueError(
                "Warm-up and decay together must not be longer than the run. "
                f"Received: warmup_epochs={warmup_epochs!r}, decay_epochs={decay_epochs!r}, "
                f"epochs={epochs!r}"
            )
        # Keras continues to accumulate from one epoch into the next; a last, short window is lost.
        total = epochs * steps_per_epoch // steps_per_update
        if total < 1:
            raise ValueError(
                "The run must have at least one update. "
                f"Received: epochs={epochs!r}, steps_per_epoch={steps_per_epoch!r}, "
                f"steps_per_update={steps_per_update!r}"
            )
        return cls(
            peak_learning_rate,
            total,
            min(warmup / epochs, 1.0),
            min(decay / epochs, 1.0),
            final_learning_rate,
            steps_per_update,
            decay_type,
        )

    def __call__(self, step: Tensor) -> Tensor:
        dtype = keras.config.floatx()
        # Whole updates first: micro-batches of one window share the window's rate.
        update = ops.cast(
            ops.floor_divide(ops.convert_to_tensor(step), self.steps_per_update), dtype
        )
        rate = self.peak_learning_rate * warmup_factors.linear(update + 1.0, self.warmup_steps)
        if not self.decay_steps:
            return rate
        progress = (update - (self.total_steps - self.decay_steps)) / self.decay_steps
        weight = ops.cast(warmup_factors.decay(progress, self.decay_type), dtype)
        # A mixture of the two rates rather than a difference, which would lose the last digits.
        return rate * weight + self.final_learning_rate * (1.0 - weight)

    def get_config(self) -> dict:
        """The constructor's arguments, with the durations in updates."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "final_learning_rate": self.final_learning_rate,
            "steps_per_update": self.steps_per_update,
            "decay_type": self.decay_type,
        }


def _exact_steps(name: str, duration, total_steps: int) -> float:
    """A duration in updates, before it is rounded to whole ones."""
    if isinstance(duration, numbers.Integral) and not isinstance(duration, bool):
        return check_integer(name, duration, low=0)
    if not isinstance(duration, numbers.Real) or isinstance(duration, bool):
        raise TypeError(
            f"`{name}` must be an integer, a number of updates, or a float in [0, 1], a fraction "
            f"of `total_steps`. Received: {name}={duration!r}"
        )
    share = float(duration)
    if not (math.isfinite(share) and 0.0 <= share <= 1.0):
        raise ValueError(
            f"`{name}` as a float is a fraction of `total_steps` and must be in [0, 1]; pass an "
            f"integer for a number of updates. Received: {name}={duration!r}"
        )
    return float(duration) * total_steps
