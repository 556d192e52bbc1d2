"""Reading files that anybody may have written: bounded, complete, and inside the folder named.

Every reader of the recipes opens its files through this module. It refuses what is not a regular
file, stays inside a folder, decompresses no more than it is told to, and notices compressed data
that ends early, which the standard library's and zstandard's streams do only in part.
"""

import gc
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

from recipes.common.command_line.errors import InputError, MissingInputError, first_line
from recipes.common.files.decompression import BUFFER, Decompressed


def regular_file(path: str | os.PathLike) -> Path:
    """`path`, if it is a regular file or a link to one.

    Opening a FIFO would wait for a writer, and a device may never end.

    Raises:
        MissingInputError: If there is nothing.
        InputError: If it is a folder, a FIFO, a socket or a device, or may not be looked at.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise MissingInputError(f"There is no such file. Received: {path}") from None
    except (OSError, ValueError) as error:  # too long, a loop of links, a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The file cannot be opened ({reason}). Received: {path}") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "special file"
        raise InputError(f"A file is expected, not a {kind}. Received: {path}")
    return path


def inside(folder: str | os.PathLike, name: str) -> Path:
    """The path of `name` in `folder`, if it stays there.

    Raises:
        InputError: If `name` is not text, is absolute, or leads out of the folder by `..` or by a
            symbolic link.
    """
    folder = Path(folder)
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"A file name is expected. Received: {name!r} in {folder}")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or path.resolve() == folder.resolve():
        raise InputError(f"A file inside the folder is expected. Received: {name!r} in {folder}")
    return path


def read_bytes(path: str | os.PathLike, limit: int) -> bytes:
    """The content of a regular file, decompressed if its suffix says so.

    Args:
        path: The file.
        limit: Bytes of content that the format can need at most; more is refused before it is
            held in memory.

    Raises:
        MissingInputError: If there is no such file.
        InputError: If it is not a regular file, larger than `limit`, damaged or cut off.
    """
    with open_file(path, limit) as file:
        content = file.read()
    return content


def read_json(path: str | os.PathLike, limit: int = 2**26, kind: type = dict) -> Any:
    """The JSON value in a file.

    Raises:
        MissingInputError: If there is no such file.
        InputError: If it is not JSON in UTF-8, nested too deeply, or not of `kind`.
    """
    content = read_bytes(path, limit)
    try:
        value = parse_json(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The file is not JSON ({first_line(error)}). Received: {path}") from None
    if not isinstance(value, kind):
        raise InputError(
            f"The file should hold a JSON {kind.__name__}, not {type(value).__name__}. "
            f"Received: {path}"
        )
    return value


def parse_json(content: bytes) -> Any:
    """The JSON value in UTF-8 that `content` is.

    The garbage collector is paused: what is parsed has no cycles, and with a million lists in the
    making it would go through all of them again and again.

    Raises:
        ValueError: If it is not JSON in UTF-8.
        RecursionError: If it is nested too deeply.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return json.loads(content.decode("utf-8"))
    finally:
        if enabled:
            gc.enable()


def open_file(path: str | os.PathLike, limit: int | None = None) -> io.BufferedReader:
    """A regular file as a stream of bytes, decompressed by its suffix.

    Args:
        path: The file; `.gz`, `.bz2`, `.xz` and `.zst` are decompressed.
        limit: Bytes after which reading stops with an error; `None` for a stream that is
            processed piece by piece.

    Raises:
        MissingInputError, InputError: As `regular_file` does; also while reading, if the data is
            damaged, ends early (the message says after how many bytes), or exceeds `limit`.
    """
    path = regular_file(path)
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InputError(
            f"The file cannot be opened ({error.strerror}). Received: {path}"
        ) from None
    return io.BufferedReader(Decompressed(raw, path, limit), BUFFER)
