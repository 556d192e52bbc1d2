"""Token arrays: from text or from a token file, split into training and held-out parts."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers

from recipes.common.command_line.errors import InputError
from recipes.common.files.npy import NPY_HEADER, npy_header
from recipes.common.files.reading import inside, read_json, regular_file
from recipes.text.documents import read_paths, standard_library
from recipes.text.shards import ShardedTokens, is_shard_folder, open_shards
from recipes.text.sources import STREAM, is_structured
from recipes.text.tokenizer import VOCABULARY, encode, read_tokenizer, train_tokenizer

TOKEN_SUFFIXES = (".bin", ".npy", ".u16", ".u32")

# Where nothing states the vocabulary, the largest id decides how large a model becomes: one wrong
# bit must not make it a thousand times larger. No published vocabulary is larger than the first;
# the second may be larger than the number of tokens in the file.
_LARGEST, _SMALL = 2**19, 2**16


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
            raise InputError(
                "Streams, parquet and JSON lines are tokenised first: python -m recipes.tokenize "
                f"--data {name} --out shards, then --data shards. Received: data={name}"
            )
        if len(data) > 1 and is_shard_folder(name):
            raise InputError(
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
    regular_file(path)
    facts_path = path.with_name(path.name + ".json")
    facts = _facts(facts_path) if os.path.lexists(facts_path) else {}
    if path.suffix == ".npy":
        tokens = _map_npy(path)
    else:
        dtype = {".u16": "uint16", ".u32": "uint32"}.get(path.suffix, token_dtype)
        if path.stat().st_size % np.dtype(dtype).itemsize or not path.stat().st_size:
            raise InputError(
                f"The token file is empty, cut off, or not {dtype}. "
                f"Received: data={path}, {path.stat().st_size} bytes"
            )
        tokens = np.memmap(path, dtype=dtype, mode="r")
    largest = max(int(tokens[i : i + 2**24].max()) for i in range(0, len(tokens), 2**24))
    vocabulary_size = facts.get("vocabulary_size", largest + 1)
    if largest >= vocabulary_size:
        raise InputError(
            "The token file has ids outside its vocabulary; is the dtype right? "
            f"Received: largest id {largest}, vocabulary_size={vocabulary_size}"
        )
    plausible = min(_LARGEST, max(_SMALL, len(tokens)))
    if "vocabulary_size" not in facts and vocabulary_size > plausible:
        raise InputError(
            f"The token file is damaged or of another dtype: ids below {plausible:,} are expected "
            f"in a file of {len(tokens):,} tokens. If they are right, state vocabulary_size in "
            f"{facts_path.name}. Received: data={path}, largest id {largest}"
        )
    cut, how = _document_border(
        tokens, int(len(tokens) * (1 - validation_share)), facts.get("separator", 0)
    )
    tokenizer = facts.get("tokenizer")
    if tokenizer is not None:
        tokenizer = read_tokenizer(
            inside(path.parent, tokenizer), f"data={path}, tokenizer={tokenizer}"
        )
        size = max(tokenizer.get_vocab().values(), default=0) + 1
        if size > vocabulary_size and "vocabulary_size" in facts:
            raise InputError(
                f"The tokenizer has more tokens than the vocabulary. Received: data={path}, "
                f"vocabulary_size={vocabulary_size}, a tokenizer of {size}"
            )
    return Corpus(
        tokens[:cut],
        tokens[cut:],
        vocabulary_size,
        tokenizer,
        f"token file {path} ({tokens.dtype}); {cut:,} tokens to train on, "
        f"{len(tokens) - cut:,} held out ({how})",
    )


def _facts(path: Path) -> dict:
    """What `NAME.json` states about a token file."""
    facts = read_json(path)
    for key, least, most in (("vocabulary_size", 1, VOCABULARY), ("separator", 0, VOCABULARY - 1)):
        value = facts.get(key, least)
        if type(value) is not int or not least <= value <= most:
            raise InputError(
                f"A token file's {key} is an integer between {least} and {most}. "
                f"Received: {path}, {key}={value!r:.80}"
            )
    if not isinstance(facts.get("tokenizer", ""), str):
        raise InputError(
            "A token file's tokenizer is the name of a file beside it. "
            f"Received: {path}, tokenizer={facts['tokenizer']!r:.80}"
        )
    return facts


def _map_npy(path: Path) -> np.memmap:
    """The ids in a `.npy` file, mapped once its header agrees with its size."""
    with path.open("rb") as file:
        start = file.read(NPY_HEADER)
    header = npy_header(start, path.stat().st_size, f"data={path}")
    if len(header.shape) != 1 or header.dtype not in (np.uint16, np.uint32):
        raise InputError(
            "A token file holds one row of uint16 or uint32. "
            f"Received: data={path}, shape={header.shape}, dtype={header.dtype}"
        )
    if not header.shape[0]:
        raise InputError(f"The token file is empty. Received: data={path}")
    return np.memmap(path, header.dtype, mode="r", offset=header.offset, shape=header.shape)


def _document_border(tokens: np.ndarray, start: int, separator: int) -> tuple[int, str]:
    """The first start of a document at or after `start`."""
    for begin in range(start, len(tokens) - 1, 2**20):
        hits = np.flatnonzero(tokens[begin : begin + 2**20] == separator)
        if len(hits) and begin + hits[0] + 1 < len(tokens):
            return int(begin + hits[0] + 1), "the last whole documents"
    return start, f"the end of the file: no separator {separator} in it"
