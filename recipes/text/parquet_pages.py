"""The sizes of a parquet file's pages, from the pages' own headers.

Arrow makes room for a page as its header says, and the sizes of a whole column chunk, which the
file's metadata has, may be others. So the headers are read before Arrow reads anything.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from recipes.common.command_line.errors import InputError

# A page of more bytes than this is no page of text, if it is so many times larger than compressed.
_LARGE, _EXPANSION = 2**27, 16
# A header holds the smallest and the largest value of the page; Arrow's own limit is this.
_LONGEST_HEADER = 2**24
_DEPTH = 8


class Page(NamedTuple):
    """What a page's header says.

    Args:
        kind: 0 for data, 2 for a dictionary, 3 for data of the second version.
        size: Bytes once decompressed.
        compressed: Bytes in the file.
    """

    kind: int
    size: int
    compressed: int


def largest_dictionary(path: Path, metadata: Any, column: str) -> int:
    """Bytes of the largest dictionary of a column, after a look at all its pages.

    A row may be as large as the dictionary: so many rows as fit may be read at once.

    Args:
        path: The file.
        metadata: `pyarrow.parquet.ParquetFile(path).metadata`.
        column: A top-level column.

    Raises:
        InputError: If a page would take far more memory than text of its size, or is not there.
    """
    largest, end = 0, path.stat().st_size
    with path.open("rb") as file:
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(number)
                if chunk.path_in_schema.partition(".")[0] != column:
                    continue
                for page in _pages(file, chunk, end, path):
                    if page.size > max(_LARGE, _EXPANSION * page.compressed):
                        raise InputError(
                            f"The parquet file has a page of {page.compressed:,} bytes that would "
                            f"take {page.size:,}. Received: data={path}"
                        )
                    if page.kind == 2:
                        largest = max(largest, page.size)
    return largest


def _pages(file: BinaryIO, chunk: Any, end: int, path: Path) -> Iterator[Page]:
    start = chunk.data_page_offset
    # As Arrow does: some writers leave 0 where there is no dictionary.
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    place, last = start, min(start + chunk.total_compressed_size, end)
    while place < last:
        page, length = _header(file, place, path)
        place += length
        if page.size < 0 or not 0 <= page.compressed <= end - place:
            raise _damaged(path, f"a page of {page.compressed:,} bytes")
        place += page.compressed
        yield page


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"The parquet file is damaged: it has {what}. Received: data={path}")


def _header(file: BinaryIO, place: int, path: Path) -> tuple[Page, int]:
    """The header at a place in the file, and its length."""
    size = 2**10
    while size <= _LONGEST_HEADER:
        file.seek(place)
        content = file.read(size)
        try:
            reader = _Compact(content)
            found = reader.struct(0)
            return Page(*(found[number] for number in (1, 2, 3))), reader.place
        except IndexError:
            if len(content) < size:
                break
            size *= 2**7
        except (KeyError, ValueError):
            break
    raise _damaged(path, f"no header of a page at byte {place:,}")


class _Compact:
    """As much of Thrift's compact protocol as skips what is not wanted.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    def byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number without an end")

    def integer(self) -> int:
        value = self.varint()
        return value >> 1 if not value & 1 else -(value >> 1) - 1

    def skip(self, size: int) -> None:
        self.place += size
        if self.place > len(self.content):
            raise IndexError

    def struct(self, depth: int) -> dict[int, int]:
        """The integers among the fields of a structure, by number."""
        found, number = {}, 0
        while first := self.byte():
            number = number + (first >> 4) if first >> 4 else self.integer()
            value = self.value(first & 15, depth)
            if value is not None:
                found[number] = value
        return found

    def value(self, kind: int, depth: int, inside: bool = False) -> int | None:
        """Skips a value, or returns it where it is an integer."""
        if depth > _DEPTH:
            raise ValueError("too deep")
        if kind in (1, 2):
            # A field's type is its value; elsewhere it takes a byte.
            self.skip(1 if inside else 0)
        elif kind == 3:
            self.skip(1)
        elif kind in (4, 5, 6):
            return self.integer()
        elif kind == 7:
            self.skip(8)
        elif kind == 8:
            self.skip(self.varint())
        elif kind in (9, 10):
            first = self.byte()
            count = self.varint() if first >> 4 == 15 else first >> 4
            for _ in range(count):
                self.value(first & 15, depth + 1, inside=True)
        elif kind == 12:
            self.struct(depth + 1)
        else:
            raise ValueError(f"a value of type {kind}")
        return None
