"""Inputs that are read a piece at a time: parquet, JSONL, text, and streams from Hugging Face.

However large the data is, only a block of it is in memory: a few rows of a parquet file, a line
of JSONL, a megabyte of a text file.
"""

import codecs
import dataclasses
import gzip
import importlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from recipes.text.documents import SEPARATOR, find_files, standard_library_files

PART = 2**20
"""Characters of a document that are handled at once; a longer one is cut into such parts."""

STREAM = "hf:"
_JSONL = (".jsonl", ".ndjson")
_COMPRESSED = (".gz", ".zst")
_BLOCK = 2**20


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
    """

    name: str
    path: Path | None
    size: int | None
    column: str
    stream: Iterable[dict] | None = None

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
            return _with_ends(_text_events(self.path, limit))
        return _with_ends(_record_events(records, limit))


def is_jsonl(path: Path) -> bool:
    """Whether the name is that of JSON lines, compressed or not."""
    name = path.name.removesuffix(path.suffix) if path.suffix in _COMPRESSED else path.name
    return name.endswith(_JSONL)


def is_structured(path: Path) -> bool:
    """Whether the name is that of a file of records rather than of text."""
    return path.suffix == ".parquet" or is_jsonl(path)


def list_inputs(data: Sequence[str], column: str = "text") -> list[Input]:
    """What to read, in a fixed order.

    Args:
        data: Files, folders, or `hf:REPOSITORY[:CONFIGURATION[:SPLIT]]`; the standard library if
            empty.
        column: The column, or JSON field, that holds the text.

    Raises:
        FileNotFoundError: If a path does not exist.
        ImportError: If a stream is asked for and `datasets` is not installed.
        ValueError: If there is nothing to read, or a stream cannot be opened.
    """
    inputs = []
    for name in data:
        if name.startswith(STREAM):
            inputs += _streams(name, column)
            continue
        path = Path(name).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"No such file or folder. Received: data={name}")
        # So that `.` has a name too. Links stay: what they point to may have no suffix.
        path = Path(os.path.abspath(path))
        root, files = path.parent, find_files(path) if path.is_dir() else [path]
        inputs += [
            Input(file.relative_to(root).as_posix(), file, file.stat().st_size, column)
            for file in files
        ]
    if not data:
        root, files = standard_library_files()
        inputs = [
            Input(file.relative_to(root).as_posix(), file, file.stat().st_size, column)
            for file in files
        ]
    if not inputs:
        raise ValueError(f"There are no files there. Received: data={','.join(data)}")
    return inputs


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


def _text_events(path: Path, limit: int) -> _Events:
    """A text file, without ever holding more of it than `limit` characters and a block."""
    if not _is_text(path):
        return
    size = max(path.stat().st_size, 1)
    with path.open("rb") as raw:
        # Line ends stay as they are.
        file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        rest, fresh = "", True
        while block := file.read(_BLOCK):
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


def _is_text(path: Path) -> bool:
    """Whether the whole file is UTF-8 without zero bytes; a folder may hold anything."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if b"\0" in block:
                    return False
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _text_of(record: dict, column: str, where: str) -> str:
    if column not in record:
        raise ValueError(
            f"There is no such column; there are {', '.join(map(str, record))}. "
            f"Received: text_column={column}, {where}"
        )
    text = record[column]
    if text is not None and not isinstance(text, str):
        raise ValueError(
            f"The column holds {type(text).__name__}, not text. "
            f"Received: text_column={column}, {where}"
        )
    return text or ""


def _jsonl_records(source: Input) -> Iterator[tuple[str, float]]:
    size = max(source.size, 1)
    with source.path.open("rb") as raw:
        number = 0
        try:
            for line in _decompressed(raw, source.path):
                number += 1
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not an object")
                text = _text_of(record, source.column, f"data={source.path}")
                # JSON can spell half a surrogate pair, which is no text.
                text = text.encode("utf-8", "replace").decode("utf-8")
                yield text, min(raw.tell() / size, 1.0)
        # gzip raises OSError or EOFError, zstandard an error of its own.
        except Exception as error:
            if "Received:" in str(error) or isinstance(error, ImportError):
                raise
            raise ValueError(
                f"A line is not a JSON object, or the file is damaged ({_first_line(error)}). "
                f"Received: data={source.path}, at or after line {number}"
            ) from error


def _decompressed(raw: io.BufferedReader, path: Path) -> Iterable[bytes]:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if path.suffix == ".zst":
        zstandard = _require("zstandard", str(path))
        stream = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return io.BufferedReader(stream, _BLOCK)
    return raw


def _parquet_records(source: Input) -> Iterator[tuple[str, float]]:
    pyarrow = _require("pyarrow", str(source.path))
    parquet = _require("pyarrow.parquet", str(source.path))
    try:
        # Pages of a row group are read as they are needed, not the whole group at once.
        file = parquet.ParquetFile(source.path, buffer_size=_BLOCK, pre_buffer=False)
        if source.column not in file.schema_arrow.names:
            _text_of(dict.fromkeys(file.schema_arrow.names), source.column, f"data={source.path}")
        rows = 0
        with file:
            for batch in file.iter_batches(64, columns=[source.column], use_threads=False):
                column = batch.column(0)
                for index in range(len(column)):
                    rows += 1
                    record = {source.column: column[index].as_py()}
                    text = _text_of(record, source.column, f"data={source.path}")
                    yield text, rows / file.metadata.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"The parquet file is damaged ({_first_line(error)}). Received: data={source.path}"
        ) from error


def _stream_records(source: Input) -> Iterator[tuple[str, float]]:
    try:
        for record in source.stream:
            yield _text_of(record, source.column, f"data={source.name}"), 0.0
    except Exception as error:
        if "Received:" in str(error):
            raise
        raise ValueError(
            f"The stream broke off ({_first_line(error)}). Received: data={source.name}"
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
        raise ValueError(
            "The stream could not be opened; expected hf:REPOSITORY[:CONFIGURATION[:SPLIT]], and a "
            f"network ({_first_line(error)}). Received: data={name}"
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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
