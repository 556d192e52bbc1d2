"""Scalars for TensorBoard, written without TensorFlow."""

from pathlib import Path

from recipes.common.files.writing import writing


class Board:
    """A TensorBoard event file; nothing at all where `tensorboard` is not installed.

    Args:
        folder: Where the event file goes.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboard.summary import Writer
        except ImportError:
            self._writer = None
        else:
            self._folder = folder
            with writing(folder):
                self._writer = Writer(str(folder))

    def write(self, values: dict[str, float], step: int) -> None:
        """Adds one value to each named curve."""
        if self._writer is not None:
            with writing(self._folder):
                for name, value in values.items():
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is still in memory."""
        if self._writer is not None:
            with writing(self._folder):
                self._writer.close()
