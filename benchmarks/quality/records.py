"""The records of a study's trials: one file while a trial is new, one line once it is packed.

`run` writes each record into a file of its own, so that any number of processes may work at one
study and a kill costs one trial. `pack` folds these files into `trials.jsonl`, one line for each
trial, sorted by `key`. Every reader here takes both.
"""

import functools
import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import filelock

from benchmarks.quality.trial import Trial
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic, is_partial

RESULTS = Path(__file__).parent / "results"
PACKED = "trials.jsonl"
_LOCK = ".pack.lock"

Record = dict[str, Any]


def _key(workload: str, name: str, identity: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    return f"{workload}/{name}_{identity['rate']:g}_{identity['seed']}_{digest}"


def key(record: Record) -> str:
    """The name of the record's trial: workload, method, rate, seed, and a digest of all it is."""
    identity = record["identity"]
    return _key(identity["workload"], record["name"], identity)


def path_of(trial: Trial, folder: Path) -> Path:
    """Where the trial's record is written, below the folder of its study."""
    return folder / f"{_key(trial.workload, trial.method.name, trial.identity())}.json"


def exists(trial: Trial, folder: Path) -> bool:
    """Whether the trial has a record, in a file of its own or packed."""
    path = path_of(trial, folder)
    # In this order: `pack` deletes a file only after its line is on the disk.
    name = path.relative_to(folder).with_suffix("").as_posix()
    return path.exists() or name in _keys(folder)


def _keys(folder: Path) -> frozenset[str]:
    path = folder / PACKED
    try:
        status = path.stat()
    except FileNotFoundError:
        return frozenset()
    return _keys_of(path, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=4)
def _keys_of(path: Path, modified: int, inode: int) -> frozenset[str]:
    return frozenset(key(record) for record in _read_packed(path))


def _clean(value: Any) -> Any:
    """JSON has neither NaN nor infinity: null."""
    if isinstance(value, dict):
        return {name: _clean(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write(path: Path, record: Record) -> None:
    """Writes the record whole or not at all, each entry on a line of its own."""
    entries = [f" {json.dumps(k)}: {json.dumps(_clean(v))}" for k, v in record.items()]
    with atomic(path) as partial:
        partial.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")


def _parse(text: str, received: str) -> Record:
    try:
        record = json.loads(text)
        record["final_loss"], key(record)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"This is no record of a trial. Received: {received}") from error
    return record


def _read_packed(path: Path) -> list[Record]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_parse(line, f"line {i} of {path}") for i, line in enumerate(lines, start=1)]


def _read_files(folder: Path) -> dict[Path, Record]:
    found = {}
    for path in sorted(folder.glob("*/*.json")):
        if is_partial(path):
            continue  # A trial is being written at this moment.
        try:
            found[path] = _parse(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            pass  # Packed at this moment: its line is read after the files.
    return found


def read(folder: Path) -> list[Record]:
    """All records of a study, in the order of their keys.

    Raises:
        InputError: If a file or a line is none, or a trial has two different ones; the message
            names it.
    """
    files = _read_files(folder)
    return _joined(_read_packed(folder / PACKED), files)


def _joined(packed: Iterable[Record], files: dict[Path, Record]) -> list[Record]:
    by_key = {key(record): record for record in packed}
    for path, record in files.items():
        # The same one twice is what `pack` leaves behind if it is killed.
        if by_key.setdefault(key(record), record) != record:
            raise InputError(
                f"The trial has another record in {PACKED}, or in a second file; delete the one "
                f"that is not wanted. Received: {path}"
            )
    return [by_key[name] for name in sorted(by_key, key=lambda name: name.split("/"))]


def pack(folder: Path) -> int:
    """Folds the files of single trials into `trials.jsonl`; how many there were.

    It may be killed at any moment and run again: a file is deleted only after the line in its
    place has been read back from the disk. Trials may run meanwhile; two packings at once may not.

    Raises:
        InputError: As `read`; then nothing has changed. If another process packs this study.
    """
    try:
        with filelock.FileLock(folder / _LOCK, timeout=0):
            files = _read_files(folder)
            if not files:
                return 0
            path = folder / PACKED
            for left in filter(is_partial, folder.glob(f".*{path.suffix}")):
                left.unlink()
            records = _joined(_read_packed(path), files)
            lines = [json.dumps(record, separators=(",", ":")) + "\n" for record in records]
            with atomic(path) as partial:
                partial.write_text("".join(lines), encoding="utf-8")
            if _read_packed(path) != records:
                raise OSError(f"The file does not read back as it was written. Received: {path}")
            for file in files:
                file.unlink()
            return len(files)
    except filelock.Timeout:
        raise InputError(f"Another process packs this study. Received: {folder}") from None


def score(record: Record) -> float:
    """The loss that counts: the held-out one, and that of the trivial predictor if it is lower.

    A run that diverged counts as the trivial predictor, which anybody may use in its place; so
    none is dropped, and none counts for more than a run that ended badly without diverging.
    """
    final, trivial = record["final_loss"], record["trivial_loss"]
    if final is None or record["diverged"]:
        return trivial
    return min(final, trivial)
