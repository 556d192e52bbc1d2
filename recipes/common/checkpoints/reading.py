"""Reading a checkpoint file: what is wrong with it, its header, its arrays. Makes no model.

The format is described in `recipes.common.checkpoints.snapshot`, which writes it.
"""

import contextlib
import functools
import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recipes.common.command_line.errors import InputError, first_line
from recipes.common.files.npy import NPY_HEADER, NpyHeader, npy_header
from recipes.common.files.reading import parse_json, regular_file

FORMAT = 1
HEADER = "header.json"
# The digest of all bytes before it is the end of the archive's comment, and so of the file.
MARK = b"sha256:"
DIGEST_LENGTH = 64
# Of the largest model's configuration a header takes a few megabytes.
_LONGEST_HEADER = 2**26
# Keras' metrics make a Python list of as many thresholds, 200 unless told, in their constructor.
_MOST_THRESHOLDS = 10_000
# Keras takes time that grows with the square of this; the largest model here has about 200.
_MOST_LAYERS = 600


def digest(file) -> bytes:
    """SHA-256 of all of the file but its last bytes, where the digest itself stands."""
    left = file.seek(0, os.SEEK_END) - DIGEST_LENGTH
    file.seek(0)
    key = hashlib.sha256()
    while left > 0:
        block = file.read(min(left, 2**20))
        key.update(block)
        left -= len(block)
    return key.hexdigest().encode()


def find_problem(path: Path) -> str | None:
    """What is wrong with the file, in a few words; `None` for a valid checkpoint.

    Reads the whole file once, and again only if it has changed.
    """
    try:
        status = regular_file(path).stat()
        return _find_problem(path, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        return "it cannot be read (there is no such file)"
    except InputError:
        return "it cannot be read (it is not a file)"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"


@functools.lru_cache
def _find_problem(path: Path, size: int, modified: int) -> str | None:
    end = len(MARK) + DIGEST_LENGTH
    if size == 0:
        return "it is empty"
    with path.open("rb") as file:
        file.seek(-min(end, size), os.SEEK_END)
        tail = file.read()
        if len(tail) < end or not tail.startswith(MARK):
            return f"it is cut short, or no checkpoint ({size:,} bytes without a checksum)"
        if digest(file) != tail[len(MARK) :]:
            return "its content does not match its checksum"
    try:
        with opened(path):
            return None
    except InputError as error:
        return str(error).partition(". Received")[0]


def read_header(path: Path) -> dict[str, Any]:
    """What the checkpoint says about itself: `step`, `run`, `backend`, `variables`, ..."""
    with opened(path) as (_, header):
        return header


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """The archive and its header, once both are what `write_snapshot` writes.

    Nothing in it is compressed, so that what is read is never larger than the file.

    Raises:
        InputError: If the file is not such an archive.
    """
    size = regular_file(path).stat().st_size
    try:
        archive = zipfile.ZipFile(path)
    # It raises errors of its own, of struct, of text decoding and of the system.
    except Exception as error:
        raise _unreadable(path, error) from None
    with archive:
        members = archive.infolist()
        names = {member.filename for member in members}
        for member in members:
            if (
                member.compress_type != zipfile.ZIP_STORED
                or member.file_size != member.compress_size
                or member.flag_bits & 1
                or member.header_offset + member.file_size > size
            ):
                raise InputError(
                    f"A member of the checkpoint is not stored as it should be: "
                    f"{member.filename!r}. Received: {path}"
                )
        if len(names) != len(members) or sum(member.file_size for member in members) > size:
            raise InputError(f"The checkpoint's members overlap. Received: {path}")
        header = _checked_header(path, _member(archive, HEADER, _LONGEST_HEADER, path))
        count = len(header["variables"]) + len(header["generators"])
        if names != {HEADER, *(f"{index:05}.npy" for index in range(count))}:
            raise InputError(
                f"The checkpoint's arrays are not those of its header. Received: {path}"
            )
        yield archive, header


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"The checkpoint cannot be read ({first_line(error)}). Received: {path}")


def _member(archive: zipfile.ZipFile, name: str, limit: int, path: Path) -> bytes:
    """The content of a member; its checksum is checked on the way."""
    try:
        if archive.getinfo(name).file_size > limit:
            raise InputError(f"{name} is larger than it can be. Received: {path}")
        return archive.read(name)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None


def _checked_header(path: Path, content: bytes) -> dict[str, Any]:
    try:
        header = parse_json(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    if not isinstance(header, dict):
        raise InputError(f"The checkpoint's header is not a JSON object. Received: {path}")
    if header.get("format") != FORMAT:
        raise InputError(
            f"The checkpoint has format {header.get('format')!r}; this version reads {FORMAT}. "
            f"Received: {path}"
        )
    kinds = {"step": int, "keras": str, "backend": str, "model": dict, "run": dict}
    lists = ("variables", "generators", "dtypes")
    wrong = [
        name
        for name, kind in kinds.items()
        if not isinstance(header.get(name), kind) or isinstance(header.get(name), bool)
    ]
    for name in lists:
        value = header.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            wrong.append(name)
    if not wrong and len(header["dtypes"]) != len(header["variables"]) + len(header["generators"]):
        wrong.append("dtypes")
    if not wrong and header["step"] < 0:
        wrong.append("step")
    if wrong:
        raise InputError(
            f"The checkpoint's header has no valid {', '.join(wrong)}. Received: {path}"
        )
    thresholds = _largest("num_thresholds", header["model"])
    if thresholds > _MOST_THRESHOLDS:
        raise InputError(
            f"A metric of the model in the checkpoint has more than {_MOST_THRESHOLDS:,} "
            f"thresholds. Received: num_thresholds={thresholds:.6g} in {path}"
        )
    layers = _count_layers(header["model"])
    if layers > _MOST_LAYERS:
        raise InputError(
            f"The model in the checkpoint has more than {_MOST_LAYERS:,} layers. "
            f"Received: {layers:,} layers in {path}"
        )
    return header


def _count_layers(configuration: Any) -> int:
    """Entries of all lists of layers in a configuration, however nested."""
    count, left = 0, [configuration]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
            layers = value.get("layers")
            count += len(layers) if isinstance(layers, list) else 0
        elif isinstance(value, list):
            left += value
    return count


def _largest(key: str, configuration: Any) -> float:
    """The largest number under `key` anywhere in a configuration, or 0."""
    largest, left = 0.0, [configuration]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
            number = value.get(key)
            if isinstance(number, int | float) and not number <= largest:
                # An integer may be beyond the largest float.
                largest = float(min(number, 1e300))
        elif isinstance(value, list):
            left += value
    return largest


def array_header(
    archive: zipfile.ZipFile, index: int, header: dict[str, Any], path: Path
) -> NpyHeader:
    """Shape and type of an array, which the member is as large as.

    Raises:
        InputError: If the member is no such array, or not of the type that the header names.
    """
    name = f"{index:05}.npy"
    try:
        size = archive.getinfo(name).file_size
        with archive.open(name) as member:
            start = member.read(NPY_HEADER)
    except Exception as error:
        raise _unreadable(path, error) from None
    found = npy_header(start, size, f"{name} in {path}")
    named = _named(header, index, path)
    if found.dtype.itemsize != named.itemsize or found.dtype not in (
        named,
        np.dtype(f"V{named.itemsize}"),
    ):
        raise InputError(
            f"{name} in the checkpoint should be of type {named}. Received: {found.dtype} in {path}"
        )
    return found


def read_array(
    archive: zipfile.ZipFile, index: int, header: dict[str, Any], path: Path
) -> np.ndarray:
    """An array; its checksum is checked on the way."""
    found = array_header(archive, index, header, path)
    name = f"{index:05}.npy"
    content = _member(archive, name, archive.getinfo(name).file_size, path)
    values = np.frombuffer(content, _named(header, index, path), offset=found.offset)
    # A copy: the buffer cannot be written to, and PyTorch warns of such arrays.
    return values.reshape(found.shape, order=found.order).copy()


def _named(header: dict[str, Any], index: int, path: Path) -> np.dtype:
    """The type that the header names: NumPy's files have no name for bfloat16."""
    try:
        return np.dtype(header["dtypes"][index])
    # NumPy reads text of several fields, too, and fails in more than one way.
    except Exception as error:
        raise InputError(
            f"The checkpoint's header names no type of number ({first_line(error)}). "
            f"Received: {header['dtypes'][index]!r:.80} in {path}"
        ) from None
