"""Checkpoints that are written while training continues."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras

from recipes.common.checkpoints.folder import CheckpointFolder
from recipes.common.checkpoints.snapshot import Snapshot, take_snapshot, write_snapshot
from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.files.writing import StorageError


class CheckpointWriter:
    """Copies the state at once, and writes it in a thread of its own.

    At most one copy is in memory: `save` waits for the checkpoint before it. As a context manager
    it waits for the last one; so does the interpreter when it exits.

    Args:
        folder: Where to.
        max_to_keep: Integer >= 1, the number of checkpoints to keep. An older one is deleted only
            after a newer one is whole on the disk.
        run: The run's configuration, for the header of each checkpoint.
        last: The updates of the checkpoint that the run was resumed from.
        devices: What the model trains on; host 0 writes.

    Attributes:
        last: The updates of the newest checkpoint that is whole on the disk, or `None`.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> folder = CheckpointFolder(Path(tempfile.mkdtemp()))
    >>> with CheckpointWriter(folder, max_to_keep=2, run={}) as writer:
    ...     for step in (1, 2, 3):
    ...         writer.save(model, step)
    >>> folder.steps(), writer.last
    ([3, 2], 3)
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        max_to_keep: int,
        run: dict[str, Any],
        last: int | None = None,
        devices: Devices = ONE_DEVICE,
    ):
        self.devices = devices
        self.folder = folder
        self.max_to_keep = max_to_keep
        self.run = run
        self.last = last
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future | None = None

    def save(self, model: keras.Model, step: int) -> None:
        """Copies the state and returns; the file is whole after `wait`.

        Raises:
            StorageError: If the checkpoint before this one could not be written.
        """
        self.wait()
        # All hosts take part in the copy, where weights are cut over them; one writes.
        snapshot = take_snapshot(model, step, self.run, self.devices)
        if self.devices.host:
            self.last = step
            return
        self._pending = self._pool.submit(self._write, snapshot, step)

    def _write(self, snapshot: Snapshot, step: int) -> None:
        try:
            write_snapshot(snapshot, self.folder.path_of(step))
            self.folder.rotate(self.max_to_keep, step)
        except StorageError as error:
            kept = "none was written before"
            if self.last is not None:
                kept = f"that after {self.last} is intact and `--resume` continues from it"
            raise StorageError(
                f"The checkpoint after {step} updates could not be written; {kept}. {error}"
            ) from error
        self.last = step

    def check(self) -> None:
        """Raises what went wrong in the thread, without waiting for it."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Returns once the checkpoint that was begun is whole on the disk.

        Raises:
            StorageError: If it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        # Waits in any case; an error of the thread must not hide the one that is under way.
        self._pool.shutdown(wait=True)
        if error is None:
            self.wait()
