"""Byte-level byte-pair encoding, trained on the data at hand and cached by its content."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers

from recipes.common.files import atomic
from recipes.text.documents import SEPARATOR

_FORMAT = "1"  # part of every cache key: raise it when what is cached changes


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/keras_h0h1`, or `~/.cache/keras_h0h1`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_h0h1"


def _digest(texts: Sequence[str], *settings) -> str:
    key = hashlib.sha256(repr((_FORMAT, tokenizers.__version__, settings)).encode())
    for text in texts:
        data = text.encode("utf-8")
        # The length first, so that moving a border between documents changes the key.
        key.update(len(data).to_bytes(8, "big") + data)
    return key.hexdigest()[:20]


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
        raise ValueError(
            "`vocabulary_size` must be >= 257: 256 bytes and the separator. "
            f"Received: vocabulary_size={vocabulary_size}"
        )
    folder = cache_folder() if cache is None else Path(cache)
    path = folder / f"bpe-{vocabulary_size}-{_digest(texts, vocabulary_size)}.json"
    if path.exists():
        return tokenizers.Tokenizer.from_file(str(path))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    with atomic(path) as partial:
        tokenizer.save(str(partial))
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
    if not path.exists():
        dtype = np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
        separator = tokenizer.token_to_id(SEPARATOR)
        parts = []
        for start in range(0, len(texts), 64):
            # The separator is a token of its own, never read from the text of a document.
            for encoding in tokenizer.encode_batch(texts[start : start + 64]):
                parts.append(np.asarray([*encoding.ids, separator], dtype))
        with atomic(path) as partial:
            np.save(partial, np.concatenate(parts))
    return np.load(path, mmap_mode="r")
