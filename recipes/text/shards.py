"""Token shards: memory-mapped files and the index that describes them.

A folder of shards, written by `python -m recipes.tokenize`, holds

| file | content |
|---|---|
| `index.json` | format, vocabulary, settings, inputs; each shard's tokens, documents, SHA-256 |
| `tokenizer.json` | the tokenizer, a `tokenizers` file |
| `training-00000.u16`, ... | ids, plain little-endian uint16, or uint32 in `.u32` |
| `validation-00000.u16`, ... | those of the held-out documents |

Each document is followed by the separator. A shard by itself is a token file as `recipes.gpt`
reads it.
"""

import concurrent.futures
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.files.reading import inside, read_json, regular_file
from recipes.common.files.writing import write_json
from recipes.text.documents import SHARD_FILE
from recipes.text.tokenizer import VOCABULARY, cache_folder, read_tokenizer

INDEX = "index.json"
TOKENIZER = "tokenizer.json"
FORMAT = "keras_h0h1 token shards"
VERSION = 2
READABLE = (1, 2)
"""Version 1 has no checksum of the index, no digests of inputs and no list of skipped files."""

_INDEX_BYTES = 2**27
SPLITS = ("training", "validation")
DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


class ShardedTokens:
    """Many arrays of tokens that read as one; slices may cross the borders between them.

    Args:
        parts: Ids, each of shape `(n_i,)`, memory-mapped, all of one dtype.

    Example:

    >>> tokens = ShardedTokens([np.array([1, 2, 3]), np.array([4, 5])])
    >>> len(tokens), tokens[1:4].tolist(), tokens[-2:].tolist()
    (5, [2, 3, 4], [4, 5])
    """

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.shape = (int(self.ends[-1]),)
        self.dtype = self.parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: slice) -> np.ndarray:
        """The tokens of a slice without a step; a view if one part holds them all."""
        start, stop, step = where.indices(len(self))
        if step != 1:
            raise ValueError(f"Only slices with step 1 can be read. Received: step={step}")
        pieces = []
        shard = int(np.searchsorted(self.ends, start, side="right"))
        while start < stop:
            part, end = self.parts[shard], int(self.ends[shard])
            begin = end - len(part)
            pieces.append(part[start - begin : min(stop, end) - begin])
            start, shard = end, shard + 1
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype)


def is_shard_folder(path: str | Path) -> bool:
    """Whether the folder is, or was, one of shards, of any version, complete or damaged."""
    path = Path(path)
    try:
        if not path.is_dir():
            return False
        # An index beside a tokenizer is ours even where nothing can be read of it.
        if (path / INDEX).exists() and (path / TOKENIZER).exists():
            return True
        if any(SHARD_FILE.fullmatch(entry.name) for entry in path.iterdir()):
            return True
        index = read_json(path / INDEX, _INDEX_BYTES)
    except (OSError, ValueError):
        return False
    return index.get("format") == FORMAT


def read_index(folder: Path) -> dict:
    """The index of a folder of shards, each value of it as it should be.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the index is of another version, or damaged.
    """
    folder = Path(folder)
    if not (folder / INDEX).exists():
        raise MissingInputError(
            f"The folder has token shards, but no index of them. Received: data={folder}, {INDEX}"
        )
    index = read_json(inside(folder, INDEX), _INDEX_BYTES)
    if index.get("format") != FORMAT:
        raise InputError(
            f"The index is damaged, or not one of token shards. Received: data={folder}, "
            f"format={index.get('format')!r:.80}"
        )
    version = index.get("version")
    if type(version) is not int or version not in READABLE:
        raise InputError(
            f"The shards' index is of another version; this program reads version {VERSION}. "
            f"Tokenise the text again. Received: data={folder}, version={version!r:.80}"
        )
    if version >= 2 and index.get("sha256") != _index_digest(index):
        raise InputError(
            "The index is not as it was written: its checksum is wrong. Copy it again, or delete "
            f"the folder and tokenise the text again. Received: data={folder}, {INDEX}"
        )
    wrong = _fault(index)
    if wrong:
        raise InputError(f"The index is damaged: {wrong}. Received: data={folder}, {INDEX}")
    return index


def sealed(index: dict) -> dict:
    """The index with the checksum of all that it says."""
    return {**index, "sha256": _index_digest(index)}


def _index_digest(index: dict) -> str:
    rest = {key: value for key, value in index.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_count, value))


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _fault(index: dict) -> str | None:
    """What in the index cannot be, or `None`."""

    def has(record, checks):
        if not isinstance(record, dict):
            return "an object is expected"
        for key, good in checks.items():
            if key not in record or not good(record[key]):
                return f"{key}={record.get(key)!r:.80}"
        return None

    checks = {
        "complete": lambda v: isinstance(v, bool),
        "dtype": lambda v: isinstance(v, str) and v in DTYPES,
        "vocabulary_size": lambda v: _count(v) and 0 < v <= VOCABULARY,
        "separator": lambda v: not has(v, {"id": _count, "token": lambda t: isinstance(t, str)}),
        "tokenizer": lambda v: not has(v, {"sha256": _is_sha256, "file": TOKENIZER.__eq__}),
        "settings": lambda v: isinstance(v, dict),
        "inputs": lambda v: isinstance(v, list) and all(isinstance(i, dict) for i in v),
        "groups": _count,
        "next": _place,
        **dict.fromkeys(SPLITS, lambda v: isinstance(v, dict)),
    }
    wrong = has(index, checks)
    if wrong:
        return wrong
    width = 8 * DTYPES[index["dtype"]].itemsize
    if (width == 16) != (index["vocabulary_size"] <= 2**16):
        return f"dtype={index['dtype']} for vocabulary_size={index['vocabulary_size']}"
    if index["separator"]["id"] >= index["vocabulary_size"]:
        return f"separator={index['separator']}"
    for split in SPLITS:
        part = index[split]
        wrong = has(
            part,
            {"tokens": _count, "documents": _count, "shards": lambda v: isinstance(v, list)},
        )
        if wrong:
            return f"{split}: {wrong}"
        last = -1
        for shard in part["shards"]:
            wrong = has(
                shard,
                {
                    "name": lambda v: isinstance(v, str) and SHARD_FILE.fullmatch(v),
                    "tokens": lambda v: _count(v) and v > 0,
                    "documents": _count,
                    "sha256": _is_sha256,
                },
            )
            if wrong:
                return f"a shard's {wrong}"
            kind, number, bits = SHARD_FILE.fullmatch(shard["name"]).groups()
            if kind != split or int(bits) != width or not last < int(number) < index["groups"]:
                return f"a shard's name={shard['name']}"
            last = int(number)
        for key in ("tokens", "documents"):
            total = sum(shard[key] for shard in part["shards"])
            if part[key] != total:
                return f"{split}: {key}={part[key]}, its shards have {total}"
    return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_shard(folder: Path, shard: dict, dtype: str, digest: bool = True) -> None:
    """Makes sure that a shard is as its index says.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is cut off, or, with `digest`, if its content has changed.
    """
    path = inside(folder, shard["name"])
    expected = shard["tokens"] * DTYPES[dtype].itemsize
    if not path.exists():
        raise MissingInputError(f"A shard is missing. Received: data={folder}, {shard['name']}")
    regular_file(path)
    if path.stat().st_size != expected:
        raise InputError(
            f"A shard is cut off, or too long: {expected} bytes are expected. "
            f"Received: data={folder}, {shard['name']} with {path.stat().st_size} bytes"
        )
    if digest and file_digest(path) != shard["sha256"]:
        raise InputError(
            "A shard's content is not what was written: its checksum is wrong. Copy it again, or "
            "delete the folder and tokenise the text again. "
            f"Received: data={folder}, {shard['name']}"
        )


def open_shards(
    folder: Path, cache: str | Path | None = None
) -> tuple[dict, dict[str, ShardedTokens], tokenizers.Tokenizer]:
    """Opens a complete folder of shards.

    Sizes are checked each time. Checksums are checked when this machine first opens the folder,
    by all cores, and again for any file whose size or time of change differs from what it then
    had; this is remembered in the cache folder, so the shards may lie where nothing can be
    written.

    Args:
        folder: Where the index is.
        cache: The cache folder, or `None` for the user's.

    Returns:
        The index; the tokens by split, memory-mapped; the tokenizer.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the folder is not complete, without held-out documents, of another
            version, or does not hold what its index says.
    """
    folder = Path(folder)
    index = read_index(folder)
    if not index["complete"]:
        raise InputError(
            "The text was not tokenised to its end; run the same `python -m recipes.tokenize` "
            f"again, it continues where it stopped. Received: data={folder}"
        )
    for split in SPLITS:
        if not index[split]["shards"]:
            raise InputError(
                f"No document fell to the {split} part; tokenise the text again with another "
                f"--validation-share. Received: data={folder}, "
                f"validation_share={index['settings'].get('validation_share')}"
            )
    shards = [shard for split in SPLITS for shard in index[split]["shards"]]
    for shard in shards:
        check_shard(folder, shard, index["dtype"], digest=False)
    _check_digests(folder, shards, index["dtype"], cache_folder() if cache is None else Path(cache))
    tokenizer = _open_tokenizer(folder, index)
    dtype = DTYPES[index["dtype"]]
    tokens = {
        split: ShardedTokens(
            [np.memmap(folder / s["name"], dtype, mode="r") for s in index[split]["shards"]]
        )
        for split in SPLITS
    }
    return index, tokens, tokenizer


def _check_digests(folder: Path, shards: list[dict], dtype: str, cache: Path) -> None:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:20]
    memory = cache / f"verified-{name}.json"
    try:
        known = read_json(memory, _INDEX_BYTES)
    except (OSError, ValueError):
        known = {}

    def state(shard):
        facts = (folder / shard["name"]).stat()
        return [facts.st_size, facts.st_mtime_ns, shard["sha256"]]

    states = {shard["name"]: state(shard) for shard in shards}
    new = [shard for shard in shards if known.get(shard["name"]) != states[shard["name"]]]
    if not new:
        return
    # hashlib lets go of the interpreter: threads use all cores.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda shard: check_shard(folder, shard, dtype), new))
    try:
        write_json(memory, states)
    except OSError:
        pass  # Without a cache the shards are only checked again the next time.


def _open_tokenizer(folder: Path, index: dict) -> tokenizers.Tokenizer:
    path = inside(folder, TOKENIZER)
    if not path.exists():
        raise MissingInputError(f"The tokenizer is missing. Received: data={folder}, {TOKENIZER}")
    regular_file(path)
    if file_digest(path) != index["tokenizer"]["sha256"]:
        raise InputError(
            "The tokenizer is not the one that made the shards: its checksum is wrong. "
            f"Received: data={folder}, {TOKENIZER}"
        )
    tokenizer = read_tokenizer(path, f"data={folder}, {TOKENIZER}")
    size, separator = max(tokenizer.get_vocab().values()) + 1, index["separator"]
    if (size, tokenizer.token_to_id(separator["token"])) != (
        index["vocabulary_size"],
        separator["id"],
    ):
        raise InputError(
            f"The index is damaged: the tokenizer has {size} tokens. Received: data={folder}, "
            f"vocabulary_size={index['vocabulary_size']}, separator={separator}"
        )
    return tokenizer
