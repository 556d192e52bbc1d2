"""Writing token shards: in parallel, in bounded memory, and resumable after a kill."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipes.common.files.writing import atomic, write_json
from recipes.text.documents import is_held_out
from recipes.text.shards import (
    DTYPES,
    INDEX,
    SPLITS,
    sealed,
)
from recipes.text.sources import Input
from recipes.tokenize.encoding import encode_in_order

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
    is killed later continues from there. What a shard contains depends on the inputs and the
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
