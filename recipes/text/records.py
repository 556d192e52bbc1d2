"""Records of parquet files, JSON lines and streams, one after the other."""

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from recipes.common.command_line.errors import InputError, first_line
from recipes.common.files.decompression import COMPRESSED
from recipes.common.files.reading import open_file, parse_json, regular_file
from recipes.text.parquet_pages import largest_dictionary

_JSONL = (".jsonl", ".ndjson")
_BLOCK = 2**20

LINE = 2**23
"""Bytes of a line of JSON at most: as Python's objects a line may take fifty times its size."""

# A column chunk that grows more than this, to more than so many bytes, is no text.
_EXPANSION, _LARGE = 1000, 2**28

# Rows that are read at once, and bytes that they may take where each names one dictionary entry.
_ROWS, _ROWS_BYTES = 64, 2**27


def is_jsonl(path: Path) -> bool:
    """Whether the name is that of JSON lines, compressed or not."""
    name = path.name.removesuffix(path.suffix) if path.suffix in COMPRESSED else path.name
    return name.endswith(_JSONL)


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


def jsonl_records(path: Path, column: str) -> Iterator[tuple[str, float]]:
    """Each object's text, and the share of the file that has been read."""
    size = max(regular_file(path).stat().st_size, 1)
    where = f"data={path}"
    if path.suffix == ".zst":
        require("zstandard", str(path))
    with open_file(path) as file:
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
            text = _text_of(record, column, where)
            # JSON can spell half a surrogate pair, which is no text.
            text = text.encode("utf-8", "replace").decode("utf-8")
            yield text, min(file.raw.raw.tell() / size, 1.0)


def parquet_records(path: Path, column: str) -> Iterator[tuple[str, float]]:
    """Each row's text, and the share of the rows that have been read."""
    require("pyarrow", str(path))
    parquet = require("pyarrow.parquet", str(path))
    where = f"data={path}"
    regular_file(path)
    try:
        # Pages of a row group are read as they are needed, not the whole group at once. Checksums
        # of pages are compared where the writer has put them there.
        file = parquet.ParquetFile(
            path, buffer_size=_BLOCK, pre_buffer=False, page_checksum_verification=True
        )
        with file:
            names = file.schema_arrow.names
            if column not in names:
                _text_of(dict.fromkeys(names), column, where)
            _check_expansion(file.metadata, path)
            rows, expected = 0, file.metadata.num_rows
            largest = largest_dictionary(path, file.metadata, column)
            at_once = max(1, min(_ROWS, _ROWS_BYTES // max(largest, 1)))
            for batch in file.iter_batches(at_once, columns=[column], use_threads=False):
                values = batch.column(0)
                for index in range(len(values)):
                    rows += 1
                    record = {column: values[index].as_py()}
                    yield _text_of(record, column, where), rows / max(rows, expected)
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


def _check_expansion(metadata, path: Path) -> None:
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            large = chunk.total_uncompressed_size
            if large > _LARGE and large > _EXPANSION * max(chunk.total_compressed_size, 1):
                raise InputError(
                    f"The parquet file has a column of {chunk.total_compressed_size:,} bytes that "
                    f"would take {large:,}. Received: data={path}"
                )


def stream_records(stream: Iterable[dict], name: str, column: str) -> Iterator[tuple[str, float]]:
    """Each row's text; how much of the stream has been read is not known."""
    try:
        for record in stream:
            yield _text_of(record, column, f"data={name}"), 0.0
    except Exception as error:
        if "Received:" in str(error):
            raise
        raise InputError(
            f"The stream broke off ({first_line(error)}). Received: data={name}"
        ) from error


def require(package: str, data: str):
    """The module, or an `ImportError` that says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"Reading this needs the package {package}: pip install 'keras-h0h1[data]'. "
            f"Received: data={data}"
        ) from error
