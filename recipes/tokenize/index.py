"""The index of a folder of shards: begun, resumed, compared with what is asked for."""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from recipes.common.command_line.errors import InputError
from recipes.common.files.reading import inside, regular_file
from recipes.common.files.writing import atomic, discard_partials, is_partial, write_json
from recipes.text.shards import (
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

LOCK = ".lock"


def new_index(
    inputs: Sequence[Input],
    tokenizer: tokenizers.Tokenizer,
    separator: str,
    settings: dict,
    skipped: Sequence[tuple[str, str]] = (),
) -> dict:
    """The index of a folder in which nothing is done yet.

    `next` is where the reading continues: so many inputs are done, and so many parts of the one
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
    """The index of the run to continue, or `None` if none was begun.

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
    """Makes sure that a run continues as it was begun.

    Raises:
        ValueError: If the data or a setting is another.
    """
    if index["version"] != wanted["version"]:
        raise InputError(
            "The folder was begun by an earlier version of this program. It can be trained on "
            "if it is complete, but not continued; choose another folder. "
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
