"""Compressed files as streams of bounded length, in which an early end is an error."""

import bz2
import io
import lzma
import zlib
from pathlib import Path

from recipes.common.command_line.errors import InputError, first_line

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")

# Input bytes handed to a decompressor at once. zstandard's has no limit on the output of one call,
# and a block of zeros of 128 KiB takes 4 bytes: 512 bytes give 16 MiB at most.
_ZSTD_INPUT = 512
_INPUT = 2**16
BUFFER = 2**20

# zstd's own default limit; `zstd --ultra --long=31` needs more than a recipe should take.
_ZSTD_WINDOW = 2**27


def _zstandard(path: Path):
    try:
        import zstandard
    except ImportError:
        raise InputError(
            "Reading this needs the package zstandard: pip install 'keras-h0h1[data]'. "
            f"Received: {path}"
        ) from None
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()


class Decompressed(io.RawIOBase):
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
