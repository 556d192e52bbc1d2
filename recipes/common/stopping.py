"""Why a run stops before its end: a signal, a divergence, a disk that is full."""

import math
import os
import signal
import threading

import keras
from keras import ops

from recipes.common.checkpoint_writer import CheckpointWriter


class Stopped(SystemExit):
    """Ends the program after a signal, with status 128 + its number: 143, or 130 for Ctrl-C.

    That is what a shell reports for a program that the signal ended, and what schedulers expect
    of work that is to be taken up again. Not 0: Kubernetes would count the Job as completed, and
    `&&` in a SLURM script would go on to what needs the finished model.
    """

    def __init__(self, received: signal.Signals):
        super().__init__(128 + received)
        self.received = received


class StopSignals:
    """Notes SIGTERM and SIGINT instead of dying of them, within a `with` block.

    The first one is noted in `received`, for the loop to stop where it can. A second one, of
    either kind, ends the process at once. Outside the main thread, where Python allows no
    handlers, nothing changes. Nor does a signal that is ignored, as SIGINT is under `nohup`.

    Attributes:
        received: The signal, or `None`.

    Example:

    >>> with StopSignals() as stop:
    ...     signal.raise_signal(signal.SIGINT)
    ...     stop.received.name
    'SIGINT'
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                previous = signal.getsignal(number)
                # None: a handler that was not set from Python and could not be put back.
                if previous not in (signal.SIG_IGN, None):
                    self._previous[number] = previous
                    signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame) -> None:
        self.received = signal.Signals(number)
        # The system's own handling, so that the second signal works even in the midst of a
        # compilation, where no Python code runs.
        for other in self._previous:
            signal.signal(other, signal.SIG_DFL)
        # Not `print`: the signal may have come in the midst of one.
        os.write(2, f"\n{self.received.name}: stopping after this update\n".encode())

    def __exit__(self, kind, error, traceback) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)


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

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.accumulate:
            return
        self.writer.check()
        # The optimizer passes over a loss that is not finite; Keras' own mean shows it.
        if not math.isfinite(logs["loss"]):
            self.problem = "the loss is not finite"
        if self.problem or self.stop.received:
            self.network.stop_training = True

    def on_test_batch_end(self, batch, logs=None):
        if self.stop.received:
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
