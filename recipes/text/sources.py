"""Inputs that are read a piece at a time: parquet, JSONL, text, and streams from Hugging Face.

However large the data is, only a block of it is in memory: a few rows of a parquet file, a line
of JSONL, a megabyte of a text file.
"""

import codecs
import dataclasses
import hashlib
import importlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.files.reading import COMPRESSED, first_line, open_file, parse_json, regular_file
from recipes.text.documents import (
    ENCODING,
    SEPARATOR,
    check_decoding,
    find_files,
    standard_library_files,
)
from recipes.text.parquet_pages import largest_dictionary

PART = 2**20
"""Characters of a document that are handled at once; a longer one is cut into such parts."""

STREAM = "hf:"
_JSONL = (".jsonl", ".ndjson")
_BLOCK = 2**20

LINE = 2**23
"""Bytes of a line of JSON at most: as Python's objects a line may take fifty times its size."""

# A column chunk that grows more than this, to more than so many bytes, is no text.
_EXPANSION, _LARGE = 1000, 2**28

# Rows that are read at once, and bytes that they may take where each names one dictionary entry.
_ROWS, _ROWS_BYTES = 64, 2**27

# Files up to this size are compared whole, larger ones in places spread over them.
_WHOLE = 2**26


class Part(NamedTuple):
    """A document, or a part of a long one.

    Args:
        text: Never blank.
        last: Whether the document ends here.
        done: Share of the input that has been read, for the progress bar.
    """

    text: str
    last: bool
    done: float


@dataclasses.dataclass(frozen=True)
class Input:
    """One file, or one file of a stream.

    Args:
        name: For people and for the index; does not depend on where the data lies.
        path: The file, or `None` for a stream.
        size: Bytes on disk, or `None` for a stream.
        column: The column, or JSON field, that holds the text.
        stream: The stream's rows, or `None` for a file.
        encoding: Of a text file.
        errors: `"strict"` or `"replace"`: what becomes of bytes that are not of the encoding.
    """

    name: str
    path: Path | None
    size: int | None
    column: str
    stream: Iterable[dict] | None = None
    encoding: str = ENCODING
    errors: str = "strict"

    @property
    def digest(self) -> str | None:
        """SHA-256 of a file's content, of places spread over a large one; `None` for a stream."""
        if self.path is None:
            return None
        key = hashlib.sha256()
        with regular_file(self.path).open("rb") as file:
            places = 64
            starts = [0] if self.size <= _WHOLE else range(0, self.size, self.size // places)
            for start in starts:
                file.seek(start)
                key.update(file.read(_WHOLE if self.size <= _WHOLE else _BLOCK))
            file.seek(max(0, self.size - _BLOCK))
            key.update(file.read(_BLOCK))
        return key.hexdigest()

    def parts(self, limit: int = PART) -> Iterator[Part]:
        """The documents in order, each in parts of at most `limit` characters.

        A part ends before a space or a line break that follows other text, where GPT-2's
        pre-tokenizer, and so a byte-level tokenizer, cuts as well: the tokens are those of the
        whole document. A stretch of `limit / 2` characters without such a place is cut anywhere.

        Raises:
            ValueError: If the input is not what its name says, or the column is missing.
            ImportError: If the package that reads it is not installed.
        """
        if self.stream is not None:
            records = _stream_records(self)
        elif self.path.suffix == ".parquet":
            records = _parquet_records(self)
        elif is_jsonl(self.path):
            records = _jsonl_records(self)
        else:
            return _with_ends(_text_events(self, limit))
        return _with_ends(_record_events(records, limit))


def is_jsonl(path: Path) -> bool:
    """Whether the name is that of JSON lines, compressed or not."""
    name = path.name.removesuffix(path.suffix) if path.suffix in COMPRESSED else path.name
    return name.endswith(_JSONL)


def is_structured(path: Path) -> bool:
    """Whether the name is that of a file of records rather than of text."""
    return path.suffix == ".parquet" or is_jsonl(path)


class Found(NamedTuple):
    """What there is to read.

    Args:
        inputs: In a fixed order.
        skipped: Names of the files in folders that are left out, each with the reason.
    """

    inputs: list[Input]
    skipped: list[tuple[str, str]]


def find_inputs(
    data: Sequence[str], column: str = "text", encoding: str = ENCODING, errors: str = "skip"
) -> Found:
    """What to read, in a fixed order.

    Args:
        data: Files, folders, or `hf:REPOSITORY[:CONFIGURATION[:SPLIT]]`; the standard library if
            empty.
        column: The column, or JSON field, that holds the text.
        encoding: Of text files.
        errors: For text files that are not of the encoding. `"skip"`: those in a folder are left
            out, one that is named is an error; `"strict"`: each is an error; `"replace"`: what
            cannot be read becomes U+FFFD.

    Raises:
        FileNotFoundError: If a path does not exist.
        ImportError: If a stream is asked for and `datasets` is not installed.
        ValueError: If there is nothing to read, a text file that is named is none, or a stream
            cannot be opened.
    """
    check_decoding(encoding, errors)
    inputs, skipped = [], []

    def add(root: Path, files: Sequence[Path], named: bool) -> None:
        for file in files:
            name = file.relative_to(root).as_posix()
            regular_file(file)
            if not is_structured(file):
                reason = _why_not_text(file, encoding, errors)
                if reason and (named or errors == "strict"):
                    raise InputError(
                        f"The file is not text: {reason}; see --encoding and --errors. "
                        f"Received: data={file}"
                    )
                if reason:
                    skipped.append((name, reason))
                    continue
            how = "replace" if errors == "replace" else "strict"
            size = file.stat().st_size
            inputs.append(Input(name, file, size, column, encoding=encoding, errors=how))

    for name in data:
        if name.startswith(STREAM):
            inputs += _streams(name, column)
            continue
        path = Path(name).expanduser()
        if not os.path.exists(path):
            raise MissingInputError(f"No such file or folder. Received: data={name}")
        # So that `.` has a name too. Links stay: what they point to may have no suffix.
        path = Path(os.path.abspath(path))
        if path.is_dir():
            add(path.parent, find_files(path), named=False)
        else:
            add(path.parent, [path], named=True)
    if not data:
        add(*standard_library_files(), named=False)
    if not inputs:
        left_out = f" ({len(skipped)} files that are not text)" if skipped else ""
        raise InputError(f"There are no files there{left_out}. Received: data={','.join(data)}")
    return Found(inputs, skipped)


def list_inputs(data: Sequence[str], column: str = "text") -> list[Input]:
    """The inputs that `find_inputs` finds."""
    return find_inputs(data, column).inputs


def _cut(text: str, limit: int) -> int:
    """Where the first part of `text` ends: at most at `limit`."""
    # The last place is wanted, and it is nearly always close to the end.
    for first in (limit - 2**12, limit // 2):
        places = re.finditer(r"(?<=\S)[ \n]", text[max(first, 1) - 1 : limit])
        found = [place.start() for place in places]
        if found:
            return max(first, 1) - 1 + found[-1]
    return limit


# Events are pairs of text and the share read so far; a text of `None` ends the document.
_Events = Iterator[tuple[str | None, float]]


def _with_ends(events: _Events) -> Iterator[Part]:
    """Holds each part back until it is known whether more of its document follows."""
    held = None
    for text, done in events:
        if text is None:
            if held is not None:
                yield Part(held, True, done)
            held = None
        elif text and not text.isspace():
            if held is not None:
                yield Part(held, False, done)
            held = text


def _record_events(records: Iterator[tuple[str, float]], limit: int) -> _Events:
    for text, done in records:
        start = 0
        while len(text) - start > limit:
            end = start + _cut(text[start : start + limit], limit)
            yield text[start:end], done
            start = end
        yield text[start:], done
        yield None, done


def _text_events(source: Input, limit: int) -> _Events:
    """A text file, without ever holding more of it than `limit` characters and a block."""
    path = regular_file(source.path)
    size = max(path.stat().st_size, 1)
    with path.open("rb") as raw:
        # Line ends stay as they are.
        file = io.TextIOWrapper(raw, encoding=source.encoding, errors=source.errors, newline="")

        def blocks():
            try:
                while block := file.read(_BLOCK):
                    yield block
            except UnicodeError as error:
                raise InputError(
                    f"The file is no longer {source.encoding} text ({first_line(error)}). "
                    f"Received: data={path}"
                ) from None

        rest, fresh = "", True
        for block in blocks():
            rest += block
            *whole, rest = rest.split(SEPARATOR)
            done = min(raw.tell() / size, 1.0)
            for text in whole:
                text = text.strip("\n") if fresh else text.rstrip("\n")
                yield from _record_events(iter([(text, done)]), limit)
                fresh = True
            if fresh:
                rest = rest.lstrip("\n")
            # Not so far that half a separator is given away.
            while len(rest) > limit + len(SEPARATOR):
                end = _cut(rest[:limit], limit)
                yield rest[:end], done
                rest, fresh = rest[end:], False
        yield from _record_events(iter([(rest.rstrip("\n"), 1.0)]), limit)


def _why_not_text(path: Path, encoding: str, errors: str) -> str | None:
    """Why a file cannot be read as text, or `None` if it can; the whole of it is looked at."""
    how = "replace" if errors == "replace" else "strict"
    decoder = codecs.getincrementaldecoder(encoding)(how)
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if "\0" in decoder.decode(block):
                    return "zero characters in it"
        decoder.decode(b"", final=True)
    except UnicodeError:
        return f"not {encoding}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _text_of(record: dict, column: str, where: str) -> str:
    if column not in record:
        raise InputError(
            f"There is no such column; there are {', '.join(map(str, record))}. "
            f"Received: text_column={column}, {where}"
        )
    text = record[column]
    if text is not None and not isinstance(text, str):
        raise InputError(
            f"The column holds {type(text).__name__}, not text. "
            f"Received: text_column={column}, {where}"
        )
    return text or ""


def _jsonl_records(source: Input) -> Iterator[tuple[str, float]]:
    size = max(source.size, 1)
    where = f"data={source.path}"
    if source.path.suffix == ".zst":
        _require("zstandard", str(source.path))
    with open_file(source.path) as file:
        number = 0
        while line := file.readline(LINE + 1):
            number += 1
            if len(line) > LINE:
                raise InputError(
                    f"A line of JSON is longer than {LINE:,} bytes. "
                    f"Received: {where}, line {number}"
                )
            if not line.strip():
                continue
            try:
                record = parse_json(line)
                if not isinstance(record, dict):
                    raise ValueError(f"it is of type {type(record).__name__}")
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"A line is not a JSON object in UTF-8 ({first_line(error)}). "
                    f"Received: {where}, line {number}"
                ) from None
            text = _text_of(record, source.column, where)
            # JSON can spell half a surrogate pair, which is no text.
            text = text.encode("utf-8", "replace").decode("utf-8")
            yield text, min(file.raw.raw.tell() / size, 1.0)


def _parquet_records(source: Input) -> Iterator[tuple[str, float]]:
    _require("pyarrow", str(source.path))
    parquet = _require("pyarrow.parquet", str(source.path))
    where = f"data={source.path}"
    regular_file(source.path)
    try:
        # Pages of a row group are read as they are needed, not the whole group at once. Checksums
        # of pages are compared where the writer has put them there.
        file = parquet.ParquetFile(
            source.path, buffer_size=_BLOCK, pre_buffer=False, page_checksum_verification=True
        )
        with file:
            names = file.schema_arrow.names
            if source.column not in names:
                _text_of(dict.fromkeys(names), source.column, where)
            _check_expansion(file.metadata, source)
            rows, expected = 0, file.metadata.num_rows
            largest = largest_dictionary(source.path, file.metadata, source.column)
            at_once = max(1, min(_ROWS, _ROWS_BYTES // max(largest, 1)))
            for batch in file.iter_batches(at_once, columns=[source.column], use_threads=False):
                column = batch.column(0)
                for index in range(len(column)):
                    rows += 1
                    record = {source.column: column[index].as_py()}
                    yield _text_of(record, source.column, where), rows / max(rows, expected)
            if rows != expected:
                raise InputError(
                    f"The parquet file has {rows} rows and says {expected}: it is damaged. "
                    f"Received: {where}"
                )
    except InputError:
        raise
    # Arrow's own errors are of many classes; so are those of decoding and of its Python layer.
    except Exception as error:
        raise InputError(
            f"The parquet file is damaged ({first_line(error)}). Received: {where}"
        ) from error


def _check_expansion(metadata, source: Input) -> None:
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            large = chunk.total_uncompressed_size
            if large > _LARGE and large > _EXPANSION * max(chunk.total_compressed_size, 1):
                raise InputError(
                    f"The parquet file has a column of {chunk.total_compressed_size:,} bytes that "
                    f"would take {large:,}. Received: data={source.path}"
                )


def _stream_records(source: Input) -> Iterator[tuple[str, float]]:
    try:
        for record in source.stream:
            yield _text_of(record, source.column, f"data={source.name}"), 0.0
    except Exception as error:
        if "Received:" in str(error):
            raise
        raise InputError(
            f"The stream broke off ({first_line(error)}). Received: data={source.name}"
        ) from error


def _streams(name: str, column: str) -> list[Input]:
    """One input for each file of the stream, so that a resumed run skips whole files."""
    datasets = _require("datasets", name)
    repository, *rest = name.removeprefix(STREAM).split(":")
    configuration, split = [*rest, None, None][:2]
    try:
        stream = datasets.load_dataset(
            repository, configuration or None, split=split or "train", streaming=True
        )
        count = stream.num_shards
    # Whatever the package raises: no network, no such repository, no such configuration.
    except Exception as error:
        raise InputError(
            "The stream could not be opened; expected hf:REPOSITORY[:CONFIGURATION[:SPLIT]], and a "
            f"network ({first_line(error)}). Received: data={name}"
        ) from error
    return [
        Input(f"{name}#{i}", None, None, column, stream.shard(num_shards=count, index=i))
        for i in range(count)
    ]


def _require(package: str, data: str):
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"Reading this needs the package {package}: pip install 'keras-h0h1[data]'. "
            f"Received: data={data}"
        ) from error
