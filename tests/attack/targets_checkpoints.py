"""Checkpoints: the file as it lies there, with its checksum made valid again, and its members.

A checksum finds every accident. The second and the third target leave the reader without it, as a
file from somebody else does. No backend computes: the harness forks.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from recipes.common.checkpoints.folder import CheckpointFolder
from recipes.common.checkpoints.reading import (
    DIGEST_LENGTH,
    HEADER,
    MARK,
    digest,
    opened,
    read_array,
)
from recipes.common.checkpoints.snapshot import Snapshot, write_snapshot
from tests.attack.harness import Target

STEP = 12
SHAPES = {"dense/kernel": (3, 4), "dense/bias": (4,), "adam/step": ()}


def snapshot() -> Snapshot:
    """What `take_snapshot` makes of a small model, typed out."""
    arrays = [np.arange(np.prod(s, dtype=int), dtype="float32") for s in SHAPES.values()]
    arrays = [a.reshape(s) for a, s in zip(arrays, SHAPES.values(), strict=True)]
    arrays.append(np.arange(16, dtype="uint8"))
    header = {
        "format": 1,
        "step": STEP,
        "keras": "3.15.1",
        "backend": "jax",
        "model": {"module": "keras", "class_name": "Sequential", "config": {"layers": []}},
        "run": {"seed": 0, "steps": 40, "peak_lr": 0.001},
        "variables": list(SHAPES),
        "generators": ["torch"],
        "dtypes": [array.dtype.name for array in arrays],
    }
    return Snapshot(header, arrays)


def seal(path: Path) -> None:
    """Makes the checksum at the end of a file valid."""
    content = path.read_bytes()
    if len(content) < len(MARK) + DIGEST_LENGTH:
        return
    with path.open("r+b") as file:
        file.seek(-len(MARK) - DIGEST_LENGTH, 2)
        file.write(MARK + b"0" * DIGEST_LENGTH)
        found = digest(file)
        file.seek(-DIGEST_LENGTH, 2)
        file.write(found)


def pack(folder: Path, path: Path) -> None:
    """A checkpoint of the files in a folder, each with its checksum, whatever is in them."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = MARK + b"0" * DIGEST_LENGTH
        for member in sorted(folder.iterdir(), key=lambda member: member.name != HEADER):
            archive.write(member, member.name)
    seal(path)


def _write(folder: Path) -> list[Path]:
    path = CheckpointFolder(folder).path_of(STEP)
    write_snapshot(snapshot(), path)
    return [path]


def _write_members(folder: Path) -> list[Path]:
    path = _write(folder)[0]
    members = folder / "members"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(members)
    path.unlink()
    # Half of the inputs are the header's.
    files = sorted(members.iterdir())
    return files + [members / HEADER] * len(files)


def _read(folder: Path) -> Any:
    """What a resumed run reads before Keras makes the model."""
    checkpoints = CheckpointFolder(folder)
    step, _ = checkpoints.newest_valid()
    if step is None:
        raise FileNotFoundError(2, "No checkpoint", str(folder))
    path = checkpoints.path_of(step)
    with opened(path) as (archive, header):
        arrays = [read_array(archive, i, header, path) for i in range(len(header["dtypes"]))]
    digests = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    return step, header, [(a.shape, a.dtype.name) for a in arrays], digests


def _read_sealed(folder: Path) -> Any:
    seal(CheckpointFolder(folder).path_of(STEP))
    return _read(folder)


def _read_packed(folder: Path) -> Any:
    pack(folder / "members", CheckpointFolder(folder).path_of(STEP))
    return _read(folder)


def _same_count(sound: Any, other: Any) -> bool:
    """Another value is one; no more of them are made than the files have bytes."""
    step, header, kinds, _ = other
    size = sum(int(np.prod(shape)) * np.dtype(name).itemsize for shape, name in kinds)
    return step == STEP and len(kinds) == len(header["dtypes"]) and size < 2**16


TARGETS = [
    Target("checkpoint", _write, _read),
    Target("checkpoint_sealed", _write, _read_sealed),
    Target("checkpoint_members", _write_members, _read_packed, _same_count),
]
