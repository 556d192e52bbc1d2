"""Reading files that anybody may have written: bounded, complete, and inside the folder named.

Every reader of the recipes opens its files through this module. It refuses what is not a regular
file, stays inside a folder, decompresses no more than it is told to, and notices compressed data
that ends early, which the standard library's and zstandard's streams do only in part.
"""

import bz2
import gc
import io
import json
import lzma
import math
import os
import stat
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recipes.common.command_line.errors import InputError, MissingInputError

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")

# Input bytes handed to a decompressor at once. zstandard's has no limit on the output of one call,
# and a block of zeros of 128 KiB takes 4 bytes: 512 bytes give 16 MiB at most.
_ZSTD_INPUT = 512
_INPUT = 2**16
_OUTPUT = 2**20
# Bytes in which the header of an array ends; NumPy's own are 128 long for any plain shape.
NPY_HEADER = 2**12

# zstd's own default limit; `zstd --ultra --long=31` needs more than a recipe should take.
_ZSTD_WINDOW = 2**27


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
    return io.BufferedReader(_Bounded(raw, path, limit), _OUTPUT)


class NpyHeader(NamedTuple):
    """What precedes the values of an array in a `.npy` file.

    Args:
        shape: Integers >= 0.
        order: `"C"` or `"F"`.
        dtype: Of plain values: no objects, no fields, no arrays inside.
        offset: Bytes before the first value.
    """

    shape: tuple[int, ...]
    order: str
    dtype: np.dtype
    offset: int


def npy_header(start: bytes, size: int, received: str) -> NpyHeader:
    """The header of an array, if its values are as many bytes as follow it.

    It is looked at before any memory is taken for the values.

    Args:
        start: The first `NPY_HEADER` bytes of the file, or all of a shorter one.
        size: Bytes of the whole file.
        received: What the message ends in.

    Raises:
        InputError: If there is no such header, or the sizes differ.
    """
    stream = io.BytesIO(start[:NPY_HEADER])
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream, max_header_size=NPY_HEADER)
    # NumPy's parser raises whatever Python's tokenizer and compiler do.
    except Exception as error:
        raise InputError(
            f"This is no sound .npy header ({first_line(error)}). Received: {received}"
        ) from None
    if dtype.hasobject or dtype.fields or dtype.subdtype or not dtype.itemsize:
        raise InputError(
            "An array of numbers is expected; no other is read, no object is made (allow_pickle is "
            f"off). Received: {received}, dtype={dtype}"
        )
    # Python's integers do not overflow. More dimensions than this NumPy does not have.
    expected = stream.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or len(shape) > 32 or expected != size:
        raise InputError(
            f"An array of shape {shape} and type {dtype} takes {expected:,} bytes with its header; "
            f"it is cut off, too long or damaged. Received: {received}, {size:,} bytes"
        )
    return NpyHeader(shape, "F" if fortran else "C", dtype, stream.tell())


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none.

    Some libraries put the data into their messages, however long it is: it is shortened.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 300 else f"{line[:297]}..."


def _zstandard(path: Path):
    try:
        import zstandard
    except ImportError:
        raise InputError(
            "Reading this needs the package zstandard: pip install 'keras-h0h1[data]'. "
            f"Received: {path}"
        ) from None
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()


class _Bounded(io.RawIOBase):
    """Decompresses member after member; an end inside one is an error.

    Attributes:
        raw: The file as it lies on the disk; `raw.tell()` tells how far the input is read.
    """

    def __init__(self, raw: io.BufferedReader, path: Path, limit: int | None):
        self.raw, self.path, self.limit = raw, path, limit
        self.suffix = path.suffix if path.suffix in COMPRESSED else ""
        self.produced = 0
        self._rest = b""
        # What zstandard gave beyond what was asked for.
        self._held: bytes | memoryview = b""
        self._decompressor = None
        self._members = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        content = self._next(len(buffer))
        self.produced += len(content)
        if self.limit is not None and self.produced > self.limit:
            raise InputError(
                f"The file holds more than the {self.limit:,} bytes that such data can have. "
                f"Received: {self.path}"
            )
        buffer[: len(content)] = content
        return len(content)

    def _next(self, size: int) -> bytes:
        """Between 1 and `size` bytes of content; none at its end."""
        if not self.suffix:
            return self._read_raw(size)
        if self.suffix == ".zst":
            return self._next_zstd(size)
        while True:
            if self._decompressor is None and not self._begin_member():
                return b""
            needs_input = getattr(self._decompressor, "needs_input", not self._rest)
            if needs_input and not self._rest:
                self._rest = self._read_raw(_INPUT)
                if not self._rest:
                    self._ends_early()
            content = self._decompress(size)
            if self._decompressor.eof:
                self._rest = self._decompressor.unused_data
                self._decompressor = None
            if content:
                return content

    def _decompress(self, size: int) -> bytes:
        given, self._rest = self._rest, b""
        try:
            content = self._decompressor.decompress(given, size)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            self._damaged(error)
        if self.suffix == ".gz":
            self._rest = self._decompressor.unconsumed_tail
        return content

    def _next_zstd(self, size: int) -> bytes:
        while not self._held:
            if self._decompressor is None and not self._begin_member():
                return b""
            piece = self._rest[:_ZSTD_INPUT] or self._read_raw(_ZSTD_INPUT)
            self._rest = self._rest[_ZSTD_INPUT:]
            if not piece:
                self._ends_early()
            try:
                self._held = memoryview(self._decompressor.decompress(piece))
            # zstandard is imported only where it is needed; its error is a plain Exception.
            except Exception as error:
                self._damaged(error)
            if self._decompressor.eof:
                self._rest = self._decompressor.unused_data + self._rest
                self._decompressor = None
        content, self._held = self._held[:size], self._held[size:]
        return bytes(content)

    def _begin_member(self) -> bool:
        """Starts on the next member, if there is one."""
        self._rest = self._rest or self._read_raw(_INPUT)
        if self._members and self.suffix in (".gz", ".xz"):
            # Both allow padding by zeros after a member, as tapes have it.
            self._rest = self._rest.lstrip(b"\0")
            while not self._rest and (more := self._read_raw(_INPUT)):
                self._rest = more.lstrip(b"\0")
        if not self._rest:
            if not self._members:
                self._ends_early()
            return False
        self._members += 1
        self._decompressor = {
            ".gz": lambda: zlib.decompressobj(wbits=31),
            ".bz2": bz2.BZ2Decompressor,
            # The default of the xz program's --memlimit-decompress is none; 256 MiB reads `xz -9`.
            ".xz": lambda: lzma.LZMADecompressor(memlimit=2**28),
            ".zst": lambda: _zstandard(self.path),
        }[self.suffix]()
        return True

    def _read_raw(self, size: int) -> bytes:
        try:
            return self.raw.read(size)
        except OSError as error:
            raise InputError(
                f"The file cannot be read ({error.strerror}). Received: {self.path}"
            ) from None

    def _ends_early(self):
        raise InputError(
            f"The compressed file ends early: {self.produced:,} bytes could be decompressed, then "
            f"its end is missing. Copy it again. Received: {self.path}"
        )

    def _damaged(self, error: Exception):
        raise InputError(
            f"The compressed file is damaged after {self.produced:,} bytes of content "
            f"({first_line(error)}). Copy it again. Received: {self.path}"
        ) from None

    def close(self) -> None:
        self.raw.close()
        super().close()
