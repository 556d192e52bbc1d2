"""Scalars for TensorBoard, written without TensorFlow."""

import os
from collections.abc import Mapping


class ScalarWriter:
    """Writes named scalars to an event file for TensorBoard.

    The file is created by `open`, so that a writer can be made, and the package checked for,
    before training begins. It may be opened again after `close`.

    Args:
        folder: Folder for the event files.

    Raises:
        ImportError: If the package `tensorboard` is not installed.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise ImportError(
                "Scalars for TensorBoard need the package `tensorboard`: pip install tensorboard. "
                f"Received: tensorboard_dir={folder!r}"
            ) from error
        self.folder = folder
        self._make = Writer
        self._writer = None

    def open(self) -> None:
        """Creates the event file, where none is open."""
        if self._writer is None:
            self._writer = self._make(str(self.folder))

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        """Adds one point to the curve of each name. The writer must be open."""
        if self._writer is None:
            raise RuntimeError(f"Call `open` before `write`. Received: folder={self.folder!r}")
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(value), step)

    def flush(self) -> None:
        """Writes what is in memory to the file."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
