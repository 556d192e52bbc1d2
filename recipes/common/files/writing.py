"""Writing files so that a reader never meets half of one."""

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# What the user can help, as opposed to a bug, with what to do about it.
_REASONS = {
    errno.ENOSPC: "The disk is full; make room",
    errno.EDQUOT: "The disk quota is used up; make room",
    errno.EFBIG: "The file is larger than the system allows; see `ulimit -f`",
    errno.EACCES: "There is no permission to write; choose another folder",
    errno.EPERM: "There is no permission to write; choose another folder",
    errno.EROFS: "The disk is read-only; choose another folder",
    errno.ENOTDIR: "There is a file where a folder is needed; choose another folder",
    errno.EEXIST: "There is a file where a folder is needed; choose another folder",
    errno.EISDIR: "There is a folder where a file is needed; choose another name",
    errno.ENAMETOOLONG: "The name is too long for the file system; choose a shorter one",
    errno.ELOOP: "Symbolic links lead in a circle; choose another folder",
    errno.EIO: "The disk has failed",
}

# The names that `atomic` gives, which no one else gives by chance: the program and the process.
_PARTIAL = ".partial-h0h1-"
_OURS = re.compile(re.escape(_PARTIAL) + r"[0-9]+-[a-z0-9_]{8}(\.[A-Za-z0-9]+)?")

# Read once, in the main thread: it can only be read by changing it, for all threads.
_MASK = os.umask(0)
os.umask(_MASK)


class StorageError(OSError):
    """A file could not be written, for a reason outside the program."""


def storage_reason(error: OSError) -> str | None:
    """What the user can do about the error, or `None` if it is none of those that one can help."""
    cause = error.__cause__ if isinstance(error, StorageError) else error
    return _REASONS.get(cause.errno)


def make_folder(path: Path) -> Path:
    """The folder, made if it does not exist; before any work, so that none is lost.

    Raises:
        StorageError: If it cannot be made.
    """
    path = Path(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the system's errors into a `StorageError` that says where and what to do."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        raise StorageError(f"{_REASONS[error.errno]}. Received: {path}") from error


def _flush(path: Path) -> None:
    """Returns once a file's content, or a folder's entries, are on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` if the block succeeds.

    Neither a kill nor a power failure leaves half a file: what was at `path` before stays until
    the new content is on the disk. Two processes may write the same path at once: each has a
    file of its own, and the last rename wins whole.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic(path) as partial:
    ...     _ = partial.write_text("all of it")
    >>> path.read_text(), [p.name for p in path.parent.iterdir()]
    ('all of it', ['a.txt'])
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays, because Keras and NumPy choose the format by it.
        handle, name = tempfile.mkstemp(
            prefix=f"{_PARTIAL}{os.getpid()}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            # mkstemp makes the file private; give it the permissions of any new file.
            partial.chmod(0o666 & ~_MASK)
            _flush(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        if os.name == "posix":
            # The rename itself; elsewhere a folder cannot be opened.
            _flush(path.parent)


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a folder beside `path` and then puts it in its place.

    Args:
        path: The folder; one that is there is deleted.
        write: Fills the folder that it is given, which does not exist yet.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    prefix = f"{_PARTIAL}{os.getpid()}-"
    with writing(path), tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as scratch:
        write(Path(scratch) / path.name)
        if path.exists():
            shutil.rmtree(path)
        os.replace(Path(scratch) / path.name, path)


def is_partial(path: Path) -> bool:
    """Whether `path` is a file that `atomic` was writing when its process was killed."""
    return bool(_OURS.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def discard_partials(folder: Path) -> None:
    """Deletes what a killed process was writing by `atomic` or `replace_folder`; nothing else.

    For a folder that this program made, while no other process writes there.
    """
    for partial in folder.glob(_PARTIAL + "*"):
        if is_partial(partial):
            partial.unlink(missing_ok=True)
        elif _OURS.fullmatch(partial.name) and partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial)


def write_json(path: Path, value: Any) -> None:
    """Writes `value`, indented; NaN and infinity become null, since JSON has neither."""

    def clean(item):
        if isinstance(item, dict):
            return {k: clean(v) for k, v in item.items()}
        if isinstance(item, list | tuple):
            return [clean(v) for v in item]
        if isinstance(item, float) and (item != item or item in (float("inf"), -float("inf"))):
            return None
        return item

    with atomic(path) as partial:
        partial.write_text(json.dumps(clean(value), indent=2, allow_nan=False) + "\n", "utf-8")
