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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers

from recipes.common.files import write_json
from recipes.text.tokenizer import cache_folder

INDEX = "index.json"
TOKENIZER = "tokenizer.json"
FORMAT = "keras_h0h1 token shards"
VERSION = 1
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
    """Whether there is an index of shards, of any version, complete or not."""
    path = Path(path)
    try:
        index = json.loads((path / INDEX).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(index, dict) and index.get("format") == FORMAT


def read_index(folder: Path) -> dict:
    """The index of a folder of shards.

    Raises:
        ValueError: If the index is of another version.
    """
    index = json.loads((Path(folder) / INDEX).read_text("utf-8"))
    if index.get("version") != VERSION:
        raise ValueError(
            f"The shards' index is of another version; this program reads version {VERSION}. "
            f"Tokenise the text again. Received: data={folder}, version={index.get('version')}"
        )
    return index


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
    path = folder / shard["name"]
    expected = shard["tokens"] * DTYPES[dtype].itemsize
    if not path.exists():
        raise FileNotFoundError(f"A shard is missing. Received: data={folder}, {shard['name']}")
    if path.stat().st_size != expected:
        raise ValueError(
            f"A shard is cut off, or too long: {expected} bytes are expected. "
            f"Received: data={folder}, {shard['name']} with {path.stat().st_size} bytes"
        )
    if digest and file_digest(path) != shard["sha256"]:
        raise ValueError(
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
        raise ValueError(
            "The text was not tokenised to its end; run the same `python -m recipes.tokenize` "
            f"again, it goes on where it stopped. Received: data={folder}"
        )
    for split in SPLITS:
        if not index[split]["shards"]:
            raise ValueError(
                f"No document fell to the {split} part; tokenise the text again with another "
                f"--validation-share. Received: data={folder}, "
                f"validation_share={index['settings']['validation_share']}"
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
        known = json.loads(memory.read_text("utf-8"))
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
    path = folder / TOKENIZER
    if not path.exists():
        raise FileNotFoundError(f"The tokenizer is missing. Received: data={folder}, {TOKENIZER}")
    if file_digest(path) != index["tokenizer"]["sha256"]:
        raise ValueError(
            "The tokenizer is not the one that made the shards: its checksum is wrong. "
            f"Received: data={folder}, {TOKENIZER}"
        )
    return tokenizers.Tokenizer.from_file(str(path))
