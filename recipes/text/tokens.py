"""Token arrays: from text or from a token file, split into training and held-out parts."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers

from recipes.text.documents import read_paths, standard_library
from recipes.text.shards import ShardedTokens, is_shard_folder, open_shards
from recipes.text.sources import STREAM, is_structured
from recipes.text.tokenizer import encode, train_tokenizer

TOKEN_SUFFIXES = (".bin", ".npy", ".u16", ".u32")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Tokens to train on and tokens held out.

    Args:
        training: Token ids, shape `(n,)`, `uint16` or `uint32`, may be memory-mapped, and in
            shards: its slices are arrays.
        validation: Token ids of the held-out documents, shape `(m,)`.
        vocabulary_size: One more than the largest id that may occur.
        tokenizer: What turns ids into text, or `None` for a bare token file.
        source: Which data and how much, for the log.
    """

    training: np.ndarray | ShardedTokens
    validation: np.ndarray | ShardedTokens
    vocabulary_size: int
    tokenizer: tokenizers.Tokenizer | None
    source: str


def load_corpus(
    data: Sequence[str],
    vocabulary_size: int,
    validation_share: float = 0.05,
    cache: str | None = None,
    token_dtype: str = "uint16",
) -> Corpus:
    """Tokens of the standard library (`data` empty), of text, of a token file or of shards.

    Args:
        data: Paths. A single path that ends in .bin, .u16, .u32 or .npy is a token file; a single
            folder that `python -m recipes.tokenize` wrote is one of shards.
        vocabulary_size: Of the tokenizer to train; token files and shards bring their own.
        validation_share: Share of the documents held out; shards bring their own.
        cache: Folder for tokenizers and tokens, or `None` for the user's cache folder.
        token_dtype: `"uint16"` or `"uint32"`, of a `.bin` file.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is not what it should be, or has to be tokenised first.
    """
    for name in data:
        if name.startswith(STREAM) or is_structured(Path(name)):
            raise ValueError(
                "Streams, parquet and JSON lines are tokenised first: python -m recipes.tokenize "
                f"--data {name} --out shards, then --data shards. Received: data={name}"
            )
        if len(data) > 1 and is_shard_folder(name):
            raise ValueError(
                "A folder of shards is read alone; tokenise all the texts into one. "
                f"Received: data={','.join(data)}"
            )
    if len(data) == 1 and is_shard_folder(data[0]):
        return _load_shards(Path(data[0]), cache)
    if len(data) == 1 and Path(data[0]).suffix in TOKEN_SUFFIXES:
        return _load_token_file(Path(data[0]).expanduser(), validation_share, token_dtype)
    documents = read_paths(data) if data else standard_library()
    texts, held_out = documents.split(validation_share)
    tokenizer = train_tokenizer(texts, vocabulary_size, cache)
    training, validation = encode(tokenizer, texts, cache), encode(tokenizer, held_out, cache)
    return Corpus(
        training,
        validation,
        tokenizer.get_vocab_size(),
        tokenizer,
        f"{documents.source}; {len(training):,} tokens to train on, {len(validation):,} held out "
        f"({len(held_out)} documents)",
    )


def brings_vocabulary(data: Sequence[str]) -> bool:
    """Whether the data is tokenised already, so that its vocabulary is given."""
    return len(data) == 1 and (data[0].endswith(TOKEN_SUFFIXES) or is_shard_folder(data[0]))


def _load_shards(folder: Path, cache: str | None) -> Corpus:
    index, tokens, tokenizer = open_shards(folder, cache)
    training, held_out = index["training"], index["validation"]
    return Corpus(
        tokens["training"],
        tokens["validation"],
        index["vocabulary_size"],
        tokenizer,
        f"token shards {folder} ({index['dtype']}, {len(training['shards'])} files); "
        f"{training['tokens']:,} tokens to train on, {held_out['tokens']:,} held out "
        f"({held_out['documents']} documents)",
    )


def _load_token_file(path: Path, validation_share: float, token_dtype: str) -> Corpus:
    """A memory-mapped file of ids.

    A file `NAME.json` beside it may state `vocabulary_size`, `separator` (the id that ends a
    document) and `tokenizer` (path of a `tokenizers` file). Without, the vocabulary is what occurs
    and the separator is 0.
    """
    if not path.exists():
        raise FileNotFoundError(f"No such token file. Received: data={path}")
    facts_path = path.with_name(path.name + ".json")
    facts = json.loads(facts_path.read_text("utf-8")) if facts_path.exists() else {}
    if path.suffix == ".npy":
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    else:
        dtype = {".u16": "uint16", ".u32": "uint32"}.get(path.suffix, token_dtype)
        if path.stat().st_size % np.dtype(dtype).itemsize or not path.stat().st_size:
            raise ValueError(
                f"The token file is empty, cut off, or not {dtype}. "
                f"Received: data={path}, {path.stat().st_size} bytes"
            )
        tokens = np.memmap(path, dtype=dtype, mode="r")
    if tokens.ndim != 1 or tokens.dtype not in (np.uint16, np.uint32):
        raise ValueError(
            "A token file holds one row of uint16 or uint32. "
            f"Received: data={path}, shape={tokens.shape}, dtype={tokens.dtype}"
        )
    largest = max(int(tokens[i : i + 2**24].max()) for i in range(0, len(tokens), 2**24))
    vocabulary_size = facts.get("vocabulary_size", largest + 1)
    if largest >= vocabulary_size:
        raise ValueError(
            "The token file has ids outside its vocabulary; is the dtype right? "
            f"Received: largest id {largest}, vocabulary_size={vocabulary_size}"
        )
    cut, how = _document_border(
        tokens, int(len(tokens) * (1 - validation_share)), facts.get("separator", 0)
    )
    tokenizer = facts.get("tokenizer")
    if tokenizer is not None:
        tokenizer = tokenizers.Tokenizer.from_file(str(path.parent / tokenizer))
    return Corpus(
        tokens[:cut],
        tokens[cut:],
        vocabulary_size,
        tokenizer,
        f"token file {path} ({tokens.dtype}); {cut:,} tokens to train on, "
        f"{len(tokens) - cut:,} held out ({how})",
    )


def _document_border(tokens: np.ndarray, start: int, separator: int) -> tuple[int, str]:
    """The first start of a document at or after `start`."""
    for begin in range(start, len(tokens) - 1, 2**20):
        hits = np.flatnonzero(tokens[begin : begin + 2**20] == separator)
        if len(hits) and begin + hits[0] + 1 < len(tokens):
            return int(begin + hits[0] + 1), "the last whole documents"
    return start, f"the end of the file: no separator {separator} in it"
