"""Why a run stops before its end: a signal, a divergence, a disk that is full."""

import math
import statistics
from collections.abc import Sequence

import keras
from keras import ops

from keras_h0h1.schedules import AutoC
from recipes.common.checkpoints.writer import CheckpointWriter
from recipes.common.command_line.settings import Training
from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.training.signals import StopSignals

# How long a signal may wait for the end of an update. SLURM and Kubernetes kill after 30 seconds by
# default, of which the checkpoint needs some.
PATIENCE = 10.0


class Guard(keras.callbacks.Callback):
    """Ends `fit` after an update, and `evaluate` after a batch, when there is reason to.

    The reasons: a signal; a loss that is not finite; a checkpoint that could not be written,
    which raises. A signal ends `fit` within an update too, after the next micro-batch, where the
    rest of the update would take longer than `PATIENCE` seconds. A part of an update cannot be
    saved: its micro-batches are lost, and so are the updates since the last checkpoint.

    Args:
        network: The model. Callbacks have it as `self.model` as well, but on JAX that brings the
            whole state to the host.
        gradient_accumulation_steps: Micro-batches in an update.
        stop: The signals.
        writer: The checkpoints.
        durations: Seconds that each update so far took, a list that grows.
        devices: What the model trains on.

    Attributes:
        problem: What has diverged, in words, or `None`.
        within: Whether `fit` was left within an update.
    """

    def __init__(
        self,
        network: keras.Model,
        gradient_accumulation_steps: int,
        stop: StopSignals,
        writer: CheckpointWriter,
        durations: Sequence[float] = (),
        devices: Devices = ONE_DEVICE,
    ):
        super().__init__()
        self.network = network
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.stop = stop
        self.writer = writer
        self.durations = durations
        self.problem: str | None = None
        self.within = False
        # Several hosts take part in every update, and agree on stopping between stretches only.
        self.alone = devices.hosts == 1

    def on_train_batch_end(self, batch, logs=None):
        done = (batch + 1) % self.gradient_accumulation_steps
        if done:
            if (
                self.stop.received
                and self.alone
                and self._far(1.0 - done / self.gradient_accumulation_steps)
            ):
                self.within = self.network.stop_training = True
            return
        self.writer.check()
        # The optimizer passes over a loss that is not finite; Keras' own mean shows it.
        if not math.isfinite(logs["loss"]):
            self.problem = "the loss is not finite"
        if self.problem or (self.stop.received and self.alone):
            self.network.stop_training = True

    def _far(self, share: float) -> bool:
        """Whether this share of an update takes long, or there is no update yet to lose."""
        if not self.durations:
            return True
        return share * statistics.median(self.durations[-20:]) > PATIENCE

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


def lost_message(step: int, saved: int | None) -> str:
    """What a run loses that is left within update `step + 1`; the last checkpoint is `saved`."""
    if saved is None:
        return "There is no checkpoint yet, so the run starts from the beginning"
    if step == saved:
        return "Lost is the part of the update that was made"
    updates = f"update {step}" if step == saved + 1 else f"updates {saved + 1} to {step}"
    return f"Lost are {updates} and the part of the next one, since the last checkpoint"


def below_peak_message(config: Training) -> str | None:
    """Why a finished run's rate was never at its peak; `None` if the loss does not drive it."""
    if config.schedule == "h0h1":
        why = f"no batch's loss fell to C = {config.C:.3g} before the final decay"
        remedy = "A larger --C raises the rate."
    elif config.schedule == "auto":
        rule = AutoC()
        before_decay = config.steps - round(config.decay * config.steps)
        if before_decay < rule.min_steps:
            why = (
                f"the self-tuned warm-up takes {rule.min_steps:.0f} updates or more, and "
                f"{before_decay} come before the final decay"
            )
        else:
            why = (
                f"before the final decay the loss neither stayed below {rule.fraction:g} of the "
                "first one nor stopped falling for long enough"
            )
        remedy = "A longer run reaches it; so may --schedule h0h1 with a large --C."
    else:
        return None
    return f"The rate never reached its peak: {why}. {remedy}"


def divergence_message(problem: str, step: int, schedule: str, writer: CheckpointWriter) -> str:
    """What happened when, what is left, and what to try."""
    if writer.last is None:
        left = "There is no checkpoint from before"
    else:
        left = f"The last good checkpoint is {writer.folder.path_of(writer.last)}"
    remedy = {"h0h1": ", a lower --C", "linear": ", a longer --warmup"}.get(schedule, "")
    return (
        f"Diverged after {step} updates: {problem}. {left}. "
        f"Try a lower --peak-lr{remedy}, or --global-clipnorm 1 if clipping is off."
    )
