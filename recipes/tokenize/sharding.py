"""Writing token shards: in parallel, in bounded memory, to be killed and gone on with."""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers

from recipes.common.command_line.errors import InputError
from recipes.common.files.reading import inside, regular_file
from recipes.common.files.writing import atomic, discard_partials, is_partial, write_json
from recipes.text.documents import is_held_out
from recipes.text.shards import (
    DTYPES,
    FORMAT,
    INDEX,
    SPLITS,
    TOKENIZER,
    VERSION,
    check_shard,
    file_digest,
    read_index,
    sealed,
)
from recipes.text.sources import Input
from recipes.text.tokenizer import VOCABULARY
from recipes.tokenize.encoding import encode_in_order

LOCK = ".lock"

# As `atomic` names what becomes the index, the tokenizer or a shard.

# Characters that go to a worker at once: enough to make the way there cheap, few enough that
# many tasks fit in memory.
_TASK = 2**19


class Piece(NamedTuple):
    """A document or a part of one, on its way into a shard.

    Args:
        text: What to tokenise.
        split: `"training"` or `"validation"`.
        closed: Whether a separator follows.
        after: How many inputs, and how many parts of the next one, are done after this piece.
        done: Share of that input that has been read.
    """

    text: str
    split: str
    closed: bool
    after: tuple[int, int]
    done: float


class Progress(NamedTuple):
    """How far the work is.

    Args:
        done: Inputs that are done, the current one as a fraction.
        text_bytes: UTF-8 bytes tokenised by this process.
        tokens: Tokens written, earlier runs' included.
        shards: Shards that are complete.
    """

    done: float
    text_bytes: int
    tokens: int
    shards: int


def new_index(
    inputs: Sequence[Input],
    tokenizer: tokenizers.Tokenizer,
    separator: str,
    settings: dict,
    skipped: Sequence[tuple[str, str]] = (),
) -> dict:
    """The index of a folder in which nothing is done yet.

    `next` is where the reading goes on: so many inputs are done, and so many parts of the one
    after them. A shard's `inputs` are the two such places that it lies between.

    Args:
        inputs: What will be read.
        tokenizer: Of the shards.
        separator: The token that follows each document.
        settings: What the result depends on besides: `shard_tokens`, `validation_share`, ...
        skipped: Names of the files that are left out, each with the reason.

    Raises:
        ValueError: If the tokenizer has no such token.
    """
    separator_id = tokenizer.token_to_id(separator)
    if separator_id is None:
        raise InputError(
            "The tokenizer has no such token to end documents with; name one that it has. "
            f"Received: separator={separator}"
        )
    # One more than the largest id: ids may have gaps.
    size = max(tokenizer.get_vocab().values()) + 1
    if size > VOCABULARY:
        raise InputError(
            f"The tokenizer has ids beyond {VOCABULARY:,}, which no vocabulary reaches. "
            f"Received: largest id {size - 1}"
        )
    empty = {"tokens": 0, "documents": 0, "shards": []}
    return {
        "format": FORMAT,
        "version": VERSION,
        "complete": False,
        "dtype": "uint16" if size <= 2**16 else "uint32",
        "vocabulary_size": size,
        "separator": {"token": separator, "id": separator_id},
        "tokenizer": {
            "file": TOKENIZER,
            "sha256": hashlib.sha256(_tokenizer_text(tokenizer).encode()).hexdigest(),
        },
        "settings": settings,
        "inputs": [{"name": i.name, "bytes": i.size, "sha256": i.digest} for i in inputs],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped],
        "groups": 0,
        "next": [0, 0],
        **{split: {**empty, "shards": []} for split in SPLITS},
    }


def _tokenizer_text(tokenizer: tokenizers.Tokenizer) -> str:
    return tokenizer.to_str(pretty=True)


def begin(folder: Path, index: dict, tokenizer: tokenizers.Tokenizer) -> None:
    """Writes the index and the tokenizer into a folder that holds nothing of ours yet."""
    write_json(folder / INDEX, sealed(index))
    with atomic(folder / TOKENIZER) as partial:
        partial.write_bytes(_tokenizer_text(tokenizer).encode())


def resumable(folder: Path) -> dict | None:
    """The index of the run to go on with, or `None` if none was begun.

    Raises:
        ValueError: If the folder holds something else, which would be written over.
        FileNotFoundError, ValueError: If a shard that the index names is not as it was written.
    """
    if not (folder / INDEX).exists():
        # A run that was killed before its index was written has left at most these.
        others = [
            path.name for path in folder.iterdir() if path.name != LOCK and not is_partial(path)
        ]
        if others:
            raise InputError(
                "The folder is not empty and holds no index of shards; choose another. "
                f"Received: out={folder}, which has {sorted(others)[0]}"
            )
        return None
    index = read_index(folder)
    shards = [shard for split in SPLITS for shard in index[split]["shards"]]
    if not shards and not (folder / TOKENIZER).exists():
        return None  # killed between the first two files
    # Its index says that the folder is ours, and the lock that no other run is at work.
    discard_partials(folder)
    for shard in shards:
        # The contents are checked when the shards are first read.
        check_shard(folder, shard, index["dtype"], digest=False)
    if not (folder / TOKENIZER).exists() or (
        file_digest(regular_file(inside(folder, TOKENIZER))) != index["tokenizer"]["sha256"]
    ):
        raise InputError(
            f"The tokenizer is not the one that the run began with. Received: out={folder}"
        )
    return index


def check_same(folder: Path, index: dict, wanted: dict) -> None:
    """Makes sure that a run goes on as it was begun.

    Raises:
        ValueError: If the data or a setting is another.
    """
    if index["version"] != wanted["version"]:
        raise InputError(
            "The folder was begun by an earlier version of this program. It can be trained on "
            "if it is complete, but not gone on with; choose another folder. "
            f"Received: out={folder}, version={index['version']}"
        )
    for name, words in (
        ("tokenizer", "tokenizer is not the one"),
        ("separator", "separator is not the one"),
        ("inputs", "inputs are not those"),
        ("skipped", "files left out are not those"),
    ):
        if index[name] != wanted[name]:
            raise InputError(
                f"The {words} that the folder was begun with; choose another folder, or give the "
                f"same. Received: out={folder}, {name}={_short(wanted[name])}, the folder has "
                f"{_short(index[name])}{_changed(index[name], wanted[name])}"
            )
    for name, value in wanted["settings"].items():
        if index["settings"].get(name) != value:
            raise InputError(
                "A folder of shards keeps its settings; choose another folder, or give the same. "
                f"Received: {name}={value}, the folder has {index['settings'].get(name)}"
            )


def _short(value: dict | list) -> str:
    if isinstance(value, list):
        return f"{len(value)} files of {sum(i.get('bytes') or 0 for i in value)} bytes"
    return str(value.get("token") or value["sha256"][:12])


def _changed(before: dict | list, now: dict | list) -> str:
    """Which file is the first that differs."""
    if not isinstance(before, list):
        return ""
    for old, new in itertools.zip_longest(before, now):
        if old != new:
            return f"; the first that differs is {(new or old)['name']}"
    return ""


def pieces(inputs: Sequence[Input], start: Sequence[int], share: float) -> Iterator[Piece]:
    """All pieces from `start` on, in order.

    A piece is held out by its content alone, so equal documents never end on different sides.
    Where the parts of one long document fall to both sides, a separator closes each stretch.
    """
    first, skip = start
    for number in range(first, len(inputs)):
        held = None
        for count, part in enumerate(inputs[number].parts(), 1):
            if number == first and count <= skip:
                continue
            split = "validation" if is_held_out(part.text, share) else "training"
            if held is not None:
                yield held if held.closed else held._replace(closed=held.split != split)
            held = Piece(part.text, split, part.last, (number, count), part.done)
        if held is not None:
            yield held


def _tasks(stream: Iterator[Piece]) -> Iterator[list[Piece]]:
    task, size = [], 0
    for piece in stream:
        task.append(piece)
        size += len(piece.text)
        if size >= _TASK:
            yield task
            task, size = [], 0
    if task:
        yield task


class _Shard:
    """A shard being written; it appears under its name only when it is whole."""

    def __init__(self, path: Path, stack: contextlib.ExitStack):
        self.name = path.name
        partial = stack.enter_context(atomic(path))
        self.file = stack.enter_context(partial.open("wb"))
        self.digest = hashlib.sha256()
        self.bytes = self.documents = 0

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.bytes += len(data)

    def finish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())


def write_shards(
    folder: Path,
    index: dict,
    inputs: Sequence[Input],
    tokenizer: str,
    workers: int,
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict:
    """Tokenises what is left to do and returns the complete index.

    A shard is closed at the first end of a document (or of a part of a long one) at which it and
    its held-out companion have `shard_tokens` tokens; then the index is written, and a run that
    is killed later goes on from there. What a shard contains depends on the inputs and the
    settings alone, not on `workers` or on where a run was killed.

    Args:
        folder: Where `begin` was called.
        index: As `begin` wrote it, or as `resumable` read it.
        inputs: Those of the index.
        tokenizer: Its JSON.
        workers: Processes that tokenise; this one reads and writes.
        report: Called now and then.
    """
    dtype = DTYPES[index["dtype"]]
    separator = np.asarray([index["separator"]["id"]], dtype).tobytes()
    settings = index["settings"]
    stream = pieces(inputs, index["next"], settings["validation_share"])
    encoded = encode_in_order(
        _tasks(stream), lambda task: [p.text for p in task], tokenizer, index["dtype"], workers
    )
    text_bytes = 0
    with contextlib.closing(encoded):
        flow = ((p, ids) for task, result in encoded for p, ids in zip(task, result, strict=True))
        after = index["next"]
        while not index["complete"]:
            number = index["groups"]
            shards: dict[str, _Shard] = {}
            written = 0
            with contextlib.ExitStack() as stack:
                for piece, ids in flow:
                    if piece.split not in shards:
                        name = f"{piece.split}-{number:05}.u{8 * dtype.itemsize}"
                        shards[piece.split] = _Shard(folder / name, stack)
                    after, shard = list(piece.after), shards[piece.split]
                    data = ids + separator if piece.closed else ids
                    shard.write(data)
                    shard.documents += piece.closed
                    written += len(data) // dtype.itemsize
                    text_bytes += len(piece.text.encode())
                    tokens = sum(index[split]["tokens"] for split in SPLITS) + written
                    report(Progress(piece.after[0] + piece.done, text_bytes, tokens, number))
                    if written >= settings["shard_tokens"]:
                        break
                else:
                    index = {**index, "complete": True}
                for shard in shards.values():
                    shard.finish()
            index = _with_shards(index, shards, dtype.itemsize, after)
            write_json(folder / INDEX, sealed(index))
    return index


def _with_shards(index: dict, shards: dict[str, _Shard], width: int, after: list) -> dict:
    """The index with one shard more for each split that has one."""
    before = index["next"]
    index = {**index, "next": after, "groups": index["groups"] + 1}
    for split, shard in shards.items():
        entry = {
            "name": shard.name,
            "tokens": shard.bytes // width,
            "documents": shard.documents,
            "sha256": shard.digest.hexdigest(),
            "inputs": [before, after],
        }
        index[split] = {
            "tokens": index[split]["tokens"] + entry["tokens"],
            "documents": index[split]["documents"] + entry["documents"],
            "shards": [*index[split]["shards"], entry],
        }
    return index
