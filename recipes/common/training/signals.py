"""SIGTERM, SIGHUP and Ctrl-C, for a loop that wants to end in order."""

import contextlib
import os
import signal
import threading

from recipes.common.distribution.devices import ONE_DEVICE, Devices

# Windows has no SIGHUP, which a terminal that is closed sends.
_NUMBERS = (signal.SIGTERM, signal.SIGINT, *filter(None, [getattr(signal, "SIGHUP", None)]))


class Stopped(SystemExit):
    """Ends the program after a signal, with status 128 + its number: 143, or 130 for Ctrl-C.

    That is what a shell reports for a program that the signal ended, and what schedulers expect
    of work that is to be resumed. Not 0: Kubernetes would count the Job as completed, and
    `&&` in a SLURM script would continue with what needs the finished model.
    """

    def __init__(self, received: signal.Signals):
        super().__init__(128 + received)
        self.received = received


# What came before `StopSignals` and was perhaps swallowed.
_noted: list[signal.Signals] = []


@contextlib.contextmanager
def noted_interrupts():
    """Ctrl-C raises `KeyboardInterrupt` in this block, as usual, and is noted as well.

    In a callback of a compiler Python prints the exception and continues. `StopSignals` then finds
    the note when it begins.
    """
    _noted.clear()
    usual = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or usual is not signal.default_int_handler:
        yield
        return

    def note(number, frame):
        _noted.append(signal.Signals(number))
        usual(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        _noted.clear()


class StopSignals:
    """Notes SIGTERM, SIGHUP and SIGINT instead of ending the process, within a `with` block.

    The first one is noted in `received`, for the loop to stop where it can. A second one, of
    either kind, ends the process at once. Outside the main thread, where Python allows no
    handlers, nothing changes. Nor does a signal that is ignored, as SIGINT is under `nohup`.

    Args:
        devices: Hosts that have to agree on stopping.

    Attributes:
        received: The signal, or `None`.

    Example:

    >>> with StopSignals() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.received.name
    'SIGTERM'
    """

    def __init__(self, devices: Devices = ONE_DEVICE):
        self.devices = devices
        self.received: signal.Signals | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in _NUMBERS:
                previous = signal.getsignal(number)
                # None: a handler that was not set from Python and could not be put back.
                if previous not in (signal.SIG_IGN, None):
                    self._previous[number] = previous
                    signal.signal(number, self._note)
        if _noted:
            self.received = _noted.pop()
        return self

    def agreed(self) -> bool:
        """Whether any host has had a signal. All of them ask together, and all stop then."""
        if self.devices.any(self.received is not None):
            self.received = self.received or signal.SIGTERM
            return True
        return False

    def _note(self, number: int, frame) -> None:
        self.received = signal.Signals(number)
        # The system's own handling, so that the second signal works even in the midst of a
        # compilation, where no Python code runs.
        for other in self._previous:
            signal.signal(other, signal.SIG_DFL)
        # Not `print`: the signal may have come in the midst of one.
        with contextlib.suppress(OSError):  # a terminal that is closed
            os.write(2, self._words().encode())

    def _words(self) -> str:
        return f"\n{self.received.name}: stopping; a second signal ends the program at once\n"

    def __exit__(self, kind, error, traceback) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
