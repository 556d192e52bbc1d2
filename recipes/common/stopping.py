"""Why a run stops before its end: a signal, a divergence, a disk that is full."""

import math

import keras
from keras import ops

from recipes.common.checkpoint_writer import CheckpointWriter
from recipes.common.distribute import current
from recipes.common.signals import StopSignals


class Guard(keras.callbacks.Callback):
    """Ends `fit` after an update, and `evaluate` after a batch, when there is reason to.

    The reasons: a signal; a loss that is not finite; a checkpoint that could not be written,
    which raises.

    Args:
        network: The model. Callbacks have it as `self.model` as well, but on JAX that brings the
            whole state to the host.
        accumulate: Micro-batches in an update.
        stop: The signals.
        writer: The checkpoints.

    Attributes:
        problem: What has diverged, in words, or `None`.
    """

    def __init__(
        self,
        network: keras.Model,
        accumulate: int,
        stop: StopSignals,
        writer: CheckpointWriter,
    ):
        super().__init__()
        self.network = network
        self.accumulate = accumulate
        self.stop = stop
        self.writer = writer
        self.problem: str | None = None
        # Several hosts take part in every update, and agree on stopping between stretches only.
        self.alone = current().hosts == 1

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.accumulate:
            return
        self.writer.check()
        # The optimizer passes over a loss that is not finite; Keras' own mean shows it.
        if not math.isfinite(logs["loss"]):
            self.problem = "the loss is not finite"
        if self.problem or (self.stop.received and self.alone):
            self.network.stop_training = True

    def on_test_batch_end(self, batch, logs=None):
        if self.stop.received and self.alone:
            self.network.stop_evaluating = True


def non_finite_weight(model: keras.Model) -> str | None:
    """The path of the first weight with NaN or infinity in it; looked for on the device."""
    for variable in model.weights:
        if keras.backend.is_float_dtype(variable.dtype) and not bool(
            ops.all(ops.isfinite(variable))
        ):
            return variable.path
    return None


def divergence_message(problem: str, step: int, schedule: str, writer: CheckpointWriter) -> str:
    """What happened when, what is left, and what to try."""
    if writer.last is None:
        left = "There is no checkpoint from before"
    else:
        left = f"The last good checkpoint is {writer.folder.path_of(writer.last)}"
    knob = {"h0h1": ", a lower --C", "linear": ", a longer --warmup"}.get(schedule, "")
    return (
        f"[bold red]Diverged[/] after {step} updates: {problem}. {left}. "
        f"Try a lower --peak-lr{knob}, or --clip 1 if clipping is off."
    )
