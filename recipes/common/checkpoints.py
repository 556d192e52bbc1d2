"""One checkpoint: a `.npz` file with everything that moves in it, and a checksum.

The format is this project's own, because what exists did not fit:

* `orbax-checkpoint` (and `keras.callbacks.OrbaxCheckpoint` on it) needs JAX on every backend and
  turns scalars into Python numbers; `tf.train.Checkpoint` needs TensorFlow. A run begun on one
  backend could not be resumed on another.
* `model.save` loads everywhere, but leaves out the states of `SeedGenerator`, has no checksum,
  and reads the variables while it writes, so that training would have to wait for it. Into memory
  instead, for writing later, it stalled training for 1.0 s with 491 MB of state (JAX, two CPU
  cores) and held the state more than twice; copying the variables took 0.3 s and holds it once.

Making the model is Keras' own business (`keras.saving.serialize_keras_object`, compilation
included), and the arrays are NumPy's: `numpy.load` reads the file, `header.json` in it says what
each array is. The order of a model's variables is the same on every backend.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_h0h1  # noqa: F401 (makes its classes known to Keras)
from recipes.common.distribute import on_host
from recipes.common.errors import InputError
from recipes.common.files import atomic
from recipes.common.generators import generator_states, set_generator_states
from recipes.common.reading import first_line, regular_file

_FORMAT = 1
_HEADER = "header.json"
# The digest of all bytes before it is the end of the archive's comment, and so of the file.
_MARK = b"sha256:"
_DIGEST_LENGTH = 64
# Of the largest model's configuration a header takes a few megabytes.
_LONGEST_HEADER = 2**26
_LONGEST_ARRAY_HEADER = 2**12


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A copy on the host of all that moves, which training may run away from.

    Args:
        header: What the arrays are, and the configurations of model and run; becomes JSON.
        arrays: The variables of model and optimizer in their order, then backend generators.
    """

    header: dict[str, Any]
    arrays: list[np.ndarray]


def _variables(model: keras.Model) -> list[keras.Variable]:
    # The optimizer's include its averages, EMA, the step, accumulated gradients and the rate's
    # state; the model's include the states of its seed generators.
    return [*model.variables, *model.optimizer.variables]


def take_snapshot(model: keras.Model, step: int = 0, run: dict[str, Any] | None = None) -> Snapshot:
    """Copies the state of a compiled model to the host.

    Args:
        model: Compiled and built, outside `fit`.
        step: Updates made so far; with the seed, the position in the data.
        run: The run's configuration, JSON-able, so that a checkpoint cannot be resumed with
            another one.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> [array.shape for array in take_snapshot(model).arrays][:2]
    [(2, 1), (1,)]
    """
    if not model.optimizer.built:
        # Before the first update, where Keras leaves it for later.
        model.optimizer.build(model.trainable_variables)
    variables, generators = _variables(model), generator_states()
    arrays = [on_host(v) for v in variables]
    arrays += generators.values()
    header = {
        "format": _FORMAT,
        "step": step,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "model": keras.saving.serialize_keras_object(model),
        "run": run or {},
        "variables": [v.path for v in variables],
        "generators": list(generators),
        # NumPy's files have no name for bfloat16.
        "dtypes": [array.dtype.name for array in arrays],
    }
    return Snapshot(header, arrays)


def _write_array(member, array: np.ndarray) -> None:
    np.lib.format.write_array(member, array, allow_pickle=False)


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Writes a checkpoint, whole or not at all, and to the disk rather than to its cache.

    Raises:
        StorageError: If the disk is full or the folder cannot be written; a file that was at
            `path` is as before.
    """
    with atomic(path) as partial, partial.open("w+b") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = _MARK + b"0" * _DIGEST_LENGTH
            archive.writestr(_HEADER, json.dumps(snapshot.header))
            for index, array in enumerate(snapshot.arrays):
                # Stored, not compressed: floating-point weights hardly shrink.
                with archive.open(f"{index:05}.npy", "w", force_zip64=True) as member:
                    _write_array(member, array)
        digest = _digest(file)
        file.seek(-_DIGEST_LENGTH, os.SEEK_END)
        file.write(digest)


def _digest(file) -> bytes:
    """SHA-256 of all of the file but its last bytes, where the digest itself stands."""
    left = file.seek(0, os.SEEK_END) - _DIGEST_LENGTH
    file.seek(0)
    key = hashlib.sha256()
    while left > 0:
        block = file.read(min(left, 2**20))
        key.update(block)
        left -= len(block)
    return key.hexdigest().encode()


def save_checkpoint(
    model: keras.Model, path: Path, step: int = 0, run: dict[str, Any] | None = None
) -> None:
    """`take_snapshot` and `write_snapshot` in one, for those who can wait."""
    write_snapshot(take_snapshot(model, step, run), path)


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
    end = len(_MARK) + _DIGEST_LENGTH
    if size == 0:
        return "it is empty"
    with path.open("rb") as file:
        file.seek(-min(end, size), os.SEEK_END)
        tail = file.read()
        if len(tail) < end or not tail.startswith(_MARK):
            return f"it is cut short, or no checkpoint ({size:,} bytes without a checksum)"
        if _digest(file) != tail[len(_MARK) :]:
            return "its content does not match its checksum"
    try:
        with _opened(path):
            return None
    except InputError as error:
        return str(error).partition(". Received")[0]


def read_header(path: Path) -> dict[str, Any]:
    """What the checkpoint says about itself: `step`, `run`, `backend`, `variables`, ..."""
    with _opened(path) as (_, header):
        return header


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """The archive and its header, once both are what `write_snapshot` writes.

    Nothing in it is compressed, so that what is read is never larger than the file.

    Raises:
        InputError: If the file is not such an archive.
    """
    size = regular_file(path).stat().st_size
    try:
        archive = zipfile.ZipFile(path)
    # Whatever it stumbles over: its own errors, those of struct, of text, of the system.
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
        header = _checked_header(path, _member(archive, _HEADER, _LONGEST_HEADER, path))
        count = len(header["variables"]) + len(header["generators"])
        if names != {_HEADER, *(f"{index:05}.npy" for index in range(count))}:
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
        header = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    if not isinstance(header, dict):
        raise InputError(f"The checkpoint's header is not a JSON object. Received: {path}")
    if header.get("format") != _FORMAT:
        raise InputError(
            f"The checkpoint has format {header.get('format')!r}; this version reads {_FORMAT}. "
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
    return header


def load_checkpoint(path: Path) -> keras.Model:
    """The compiled model as `save_checkpoint` found it, on whatever backend is active.

    On PyTorch its global generators are set as well.

    Raises:
        InputError: If the file is damaged, or the variables are not those that this version of
            Keras makes for the model in it.
    """
    path = Path(path)
    problem = find_problem(path)
    if problem:
        raise InputError(f"The checkpoint is not valid: {problem}. Received: {path}")
    with _opened(path) as (archive, header):
        try:
            model = keras.saving.deserialize_keras_object(header["model"])
            compiled = isinstance(model, keras.Model) and model.optimizer is not None
        # Keras raises whatever the configuration leads it into.
        except Exception as error:
            raise InputError(
                f"Keras cannot make the model in the checkpoint ({first_line(error)}). "
                f"Received: {path}"
            ) from error
        if not compiled:
            raise InputError(f"The checkpoint holds no compiled model. Received: {path}")
        variables = _variables(model)
        expected = len(header["variables"])
        if len(variables) != expected:
            raise InputError(
                f"The model in the checkpoint has {expected} variables, and "
                f"{len(variables)} with Keras {keras.__version__} on {keras.backend.backend()}; "
                f"it was written by Keras {header['keras']} on {header['backend']}. "
                f"Received: {path}"
            )
        for index, variable in enumerate(variables):
            array = _read_array(archive, index, header, path)
            if array.shape != tuple(variable.shape):
                raise InputError(
                    f"{header['variables'][index]} has shape {array.shape} in the checkpoint and "
                    f"{tuple(variable.shape)} in the model. Received: {path}"
                )
            variable.assign(array)
        set_generator_states(
            {
                name: _read_array(archive, expected + index, header, path)
                for index, name in enumerate(header["generators"])
            }
        )
    return model


def _read_array(
    archive: zipfile.ZipFile, index: int, header: dict[str, Any], path: Path
) -> np.ndarray:
    """An array, whose shape is compared with the member's size before any memory is taken."""
    name = f"{index:05}.npy"
    content = _member(archive, name, archive.getinfo(name).file_size, path)
    start = io.BytesIO(content[: 2 * _LONGEST_ARRAY_HEADER])
    try:
        version = np.lib.format.read_magic(start)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read(start, max_header_size=_LONGEST_ARRAY_HEADER)
        named = np.dtype(header["dtypes"][index])
    # NumPy reads the header as Python source: SyntaxError, TokenError, RecursionError and others.
    except Exception as error:
        raise InputError(
            f"{name} in the checkpoint is not an array ({first_line(error)}). Received: {path}"
        ) from None
    data = memoryview(content)[start.tell() :]
    if (
        dtype.hasobject
        or dtype.fields
        or dtype.itemsize != named.itemsize
        or (dtype.kind != "V" and dtype != named)
        or min(shape, default=0) < 0
        or math.prod(shape) * dtype.itemsize != len(data)
    ):
        raise InputError(
            f"{name} in the checkpoint has {len(data):,} bytes, which are not {shape} of "
            f"{dtype}. Received: {path}"
        )
    array = np.frombuffer(data, named).reshape(shape, order="F" if fortran_order else "C")
    # A copy: the buffer cannot be written to, and PyTorch warns of such arrays.
    return array.copy()
