"""Inputs that are read a piece at a time: parquet, JSONL, text, and streams from Hugging Face.

However large the data is, only a block of it is in memory: a few rows of a parquet file, a line
of JSONL, a megabyte of a text file.
"""

import codecs
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from recipes.common.command_line.errors import InputError, MissingInputError, first_line
from recipes.common.files.reading import regular_file
from recipes.text.documents import ENCODING, check_decoding, find_files, standard_library_files
from recipes.text.parts import PART, Part, record_events, text_events, with_ends
from recipes.text.records import (
    is_jsonl,
    jsonl_records,
    parquet_records,
    require,
    stream_records,
)

STREAM = "hf:"
_BLOCK = 2**20

# Files up to this size are compared whole, larger ones in places spread over them.
_WHOLE = 2**26


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
            records = stream_records(self.stream, self.name, self.column)
        elif self.path.suffix == ".parquet":
            records = parquet_records(self.path, self.column)
        elif is_jsonl(self.path):
            records = jsonl_records(self.path, self.column)
        else:
            return with_ends(text_events(self.path, self.encoding, self.errors, limit))
        return with_ends(record_events(records, limit))


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


def _streams(name: str, column: str) -> list[Input]:
    """One input for each file of the stream, so that a resumed run skips whole files."""
    datasets = require("datasets", name)
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
