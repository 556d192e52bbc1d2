"""Named pipes that make a test fail instead of hang."""

import contextlib
import os
import threading
import time
from pathlib import Path

# Seconds after which a reader is no longer kept waiting, and after which nobody looks for readers.
PATIENCE, LIFE = 5.0, 120.0


def make_fifo(path: str | os.PathLike) -> Path:
    """A FIFO, which no reader should open: it would wait for a writer.

    One that does is let go after `PATIENCE` seconds, with the end of an empty file.
    """
    os.mkfifo(path)

    def release():
        time.sleep(PATIENCE)
        end = time.monotonic() + LIFE
        while time.monotonic() < end and os.path.lexists(path):
            with contextlib.suppress(OSError):  # nobody reads
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.1)

    threading.Thread(target=release, daemon=True).start()
    return Path(path)
