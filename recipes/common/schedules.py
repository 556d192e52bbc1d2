"""The rates that the recipes compare: the papers' plateau with a final decay, three beginnings."""

import keras
from keras import ops

from keras_h0h1._validation import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_h0h1")
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    r"""A plateau at the peak rate, after a linear warm-up and before a linear decay.

    With update $k = 0, 1, \dots$ of $N$, warm-up length $W$ and decay length $D$

    $$\eta_k = \begin{cases}
    \eta \, (k + 1) / W & k < W \\
    \eta & W \le k \le N - D \\
    \eta - (\eta - \eta_{\text{end}}) \, (k - N + D) / D & k > N - D
    \end{cases}$$

    so the first update already moves, and the rate would reach $\eta_{\text{end}}$ at $k = N$.

    Args:
        peak_learning_rate: The plateau's rate $\eta$.
        total_steps: Updates in the whole run, $N$.
        warmup_steps: Updates of linear warm-up, $W$. Defaults to 0, no warm-up.
        decay_steps: Updates of final decay, $D$. Defaults to 0, no decay.
        final_learning_rate: $\eta_{\text{end}}$. Defaults to `1e-5`, the papers' value.
        steps_per_update: Micro-batches accumulated for one update. Keras hands a schedule the
            count of *micro-batches*; this argument turns it back into updates. Defaults to 1.

    Raises:
        TypeError, ValueError: If a number is of the wrong kind or out of range, or if warm-up and
            decay together are longer than the run.

    References:
        The final 20% decay to 1e-5 is the one that the (H0, H1) paper, arXiv 2510.03164, uses
        for each schedule that it compares.

    Example:

    >>> schedule = WarmupStableDecay(1.0, 10, warmup_steps=4, decay_steps=2, final_learning_rate=0)
    >>> [float(schedule(k)) for k in range(10)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    """

    def __init__(
        self,
        peak_learning_rate: float,
        total_steps: int,
        warmup_steps: int = 0,
        decay_steps: int = 0,
        final_learning_rate: float = 1e-5,
        steps_per_update: int = 1,
    ):
        super().__init__()
        self.peak_learning_rate = check_number(
            "peak_learning_rate", peak_learning_rate, low=0, strict=True
        )
        self.total_steps = check_integer("total_steps", total_steps, low=1)
        self.warmup_steps = check_integer("warmup_steps", warmup_steps, low=0)
        self.decay_steps = check_integer("decay_steps", decay_steps, low=0)
        self.final_learning_rate = check_number("final_learning_rate", final_learning_rate, low=0)
        self.steps_per_update = check_integer("steps_per_update", steps_per_update, low=1)
        if self.warmup_steps + self.decay_steps > self.total_steps:
            raise ValueError(
                "Warm-up and decay together must not be longer than the run. "
                f"Received: warmup_steps={warmup_steps}, decay_steps={decay_steps}, "
                f"total_steps={total_steps}"
            )

    def __call__(self, step):
        dtype = keras.config.floatx()
        # Whole updates first: micro-batches of one window share the window's rate.
        update = ops.cast(
            ops.floor_divide(ops.convert_to_tensor(step), self.steps_per_update), dtype
        )
        warmup = (update + 1.0) / max(self.warmup_steps, 1)
        decay = (update - (self.total_steps - self.decay_steps)) / max(self.decay_steps, 1)
        if not self.warmup_steps:
            warmup = ops.ones_like(update)
        if not self.decay_steps:
            decay = ops.zeros_like(update)
        rate = self.peak_learning_rate * ops.minimum(warmup, 1.0)
        decay = ops.clip(decay, 0.0, 1.0)
        # A mixture of the two rates rather than a difference, which would lose the last digits.
        return rate * (1.0 - decay) + self.final_learning_rate * decay

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "final_learning_rate": self.final_learning_rate,
            "steps_per_update": self.steps_per_update,
        }
