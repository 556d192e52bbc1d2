"""Byte-level byte-pair encoding, trained on the data at hand and cached by its content."""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tokenizers

from recipes.common.command_line.errors import InputError, first_line
from recipes.common.files.reading import read_bytes, regular_file
from recipes.common.files.writing import atomic
from recipes.text.documents import SEPARATOR

_FORMAT = "2"  # part of every cache key: raise it when what is cached changes
_SEAL = hashlib.sha256().digest_size

VOCABULARY = 2**24
"""Tokens that a vocabulary has at most."""

_TOKENIZER_BYTES = 2**28

# Letters and digits, white space, or anything else, longer than any word: the trainer's work
# grows with the square of a word's length.
_WORD = 1024
_LONG = re.compile(
    rf"(?<![^\W_])[^\W_]{{{_WORD},}}|(?<!\s)\s{{{_WORD},}}"
    rf"|(?<![^\w\s])(?<!_)(?:[^\w\s]|_){{{_WORD},}}"
)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/keras_h0h1`, or `~/.cache/keras_h0h1`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_h0h1"


def read_tokenizer(path: Path, received: str) -> tokenizers.Tokenizer:
    """The tokenizer in a file of the tokenizers library.

    Raises:
        ValueError: If the file is none, or has ids beyond any vocabulary.
    """
    content = read_bytes(path, _TOKENIZER_BYTES)
    return _parse(content, received)


def _parse(content: bytes, received: str) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
        largest = max(tokenizer.get_vocab().values(), default=0)
    # The library raises the bare class; where it panics, one that is no Exception.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise InputError(
            f"The file is not one of the tokenizers library ({first_line(error)}). "
            f"Received: {received}"
        ) from None
    if largest >= VOCABULARY:
        raise InputError(
            f"The tokenizer has ids beyond {VOCABULARY:,}, which no vocabulary reaches. "
            f"Received: {received}, largest id {largest}"
        )
    return tokenizer


def _digest(texts: Sequence[str], *settings) -> str:
    key = hashlib.sha256(repr((_FORMAT, tokenizers.__version__, settings)).encode())
    for text in texts:
        data = text.encode("utf-8")
        # The length first, so that moving a border between documents changes the key.
        key.update(len(data).to_bytes(8, "big") + data)
    return key.hexdigest()[:20]


def _sealed(path: Path, write: Callable[[Path], None]) -> Path:
    """A file of the cache that ends in its own SHA-256; it is made if it is missing or damaged."""
    if os.path.lexists(path):
        if _is_sound(path):
            return path
        aside = path.with_name(path.name + ".damaged")
        with contextlib.suppress(FileNotFoundError):  # another process has done so
            os.replace(path, aside)
        print(f"A file of the cache is damaged; it is made again: {aside}", file=sys.stderr)
    with atomic(path) as partial:
        write(partial)
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        with partial.open("ab") as file:
            file.write(digest)
    return path


def _is_sound(path: Path) -> bool:
    try:
        with regular_file(path).open("rb") as file:
            left = os.fstat(file.fileno()).st_size - _SEAL
            key = hashlib.sha256()
            while left > 0 and (block := file.read(min(left, 2**20))):
                key.update(block)
                left -= len(block)
            return left == 0 and file.read() == key.digest()
    except (OSError, InputError):
        return False


def _without_long_words(texts: Sequence[str]) -> Iterator[str]:
    """The texts, cut where a run of one kind of character is longer than any word."""
    for text in texts:
        start = 0
        for run in _LONG.finditer(text):
            for end in range(run.start() + _WORD, run.end(), _WORD):
                yield text[start:end]
                start = end
        yield text[start:]


def train_tokenizer(
    texts: Sequence[str], vocabulary_size: int, cache: Path | None = None
) -> tokenizers.Tokenizer:
    """A byte-level BPE tokenizer: any text can be encoded, and decodes to itself.

    Args:
        texts: What to learn the merges from: the training documents, never the held-out ones.
        vocabulary_size: At most this many tokens: the separator (id 0), the 256 bytes, the
            merges. Small data may have fewer.
        cache: Folder for trained tokenizers, or `None` for the user's cache folder.

    Raises:
        ValueError: If `vocabulary_size` is below 257.
    """
    if vocabulary_size < 257:
        raise InputError(
            "`vocabulary_size` must be >= 257: 256 bytes and the separator. "
            f"Received: vocabulary_size={vocabulary_size}"
        )
    folder = cache_folder() if cache is None else Path(cache)
    path = folder / f"bpe-{vocabulary_size}-{_digest(texts, vocabulary_size)}.json"

    def write(partial):
        _train(texts, vocabulary_size).save(str(partial))

    content = _sealed(path, write).read_bytes()
    return _parse(content[:-_SEAL], f"cache={path}")


def _train(texts: Sequence[str], vocabulary_size: int) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without_long_words(texts), trainer)
    return tokenizer


def encode(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str], cache: Path | None = None
) -> np.ndarray:
    """All documents as one array of token ids, each followed by the separator.

    Returns:
        Array of shape `(tokens,)`, `uint16` if the vocabulary allows it, else `uint32`;
        memory-mapped from the cache.
    """
    folder = cache_folder() if cache is None else Path(cache)
    path = folder / f"tokens-{_digest(texts, tokenizer.to_str())}.npy"

    def write(partial):
        dtype = np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
        separator = tokenizer.token_to_id(SEPARATOR)
        parts = []
        for start in range(0, len(texts), 64):
            # The separator is a token of its own, never read from the text of a document.
            for encoding in tokenizer.encode_batch(texts[start : start + 64]):
                parts.append(np.asarray([*encoding.ids, separator], dtype))
        np.save(partial, np.concatenate(parts))

    return np.load(_sealed(path, write), mmap_mode="r")
