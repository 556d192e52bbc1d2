"""Real data that is at hand: Python's own source, its manual's English, small images."""

import functools
import hashlib
import pydoc_data.topics

import numpy as np

from recipes.text.documents import is_held_out, standard_library
from recipes.vision.data import load_images

HELD_OUT_SHARE = 0.1
CHARACTERS = 97
"""Size of the vocabulary of characters: ASCII's 95 printable ones, the line break, all others."""

_CODE_LENGTH = 4_000_000

# By byte: 0 for whatever is not listed.
_IDS = np.zeros(256, np.int32)
_IDS[ord("\n")] = 1
_IDS[32:127] = np.arange(2, 97)


def _in_fixed_order(texts: list[str]) -> list[str]:
    """By content, so that any stretch of the text is a mixture of subjects."""
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


@functools.cache
def code() -> tuple[str, str]:
    """Training and held-out text: the standard library's source, split by document."""
    training, held_out = standard_library().split(HELD_OUT_SHARE)
    training, held_out = ("\n\n".join(_in_fixed_order(part)) for part in (training, held_out))
    return training[:_CODE_LENGTH], held_out[:_CODE_LENGTH]


@functools.cache
def english() -> tuple[str, str]:
    """Training and held-out text: the topics of Python's built-in help, split by topic."""
    topics = [text for text in pydoc_data.topics.topics.values() if text.strip()]
    held_out = [text for text in topics if is_held_out(text, HELD_OUT_SHARE)]
    training = [text for text in topics if not is_held_out(text, HELD_OUT_SHARE)]
    return "\n\n".join(_in_fixed_order(training)), "\n\n".join(_in_fixed_order(held_out))


def characters(text: str) -> np.ndarray:
    """The text as numbers below `CHARACTERS`."""
    return _IDS[np.frombuffer(text.encode("latin-1", "replace"), np.uint8)]


@functools.cache
def code_pieces(vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """The source as byte-pair pieces, which are learnt from its first million characters."""
    import tokenizers

    training, held_out = code()
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        training[:1_000_000].splitlines(keepends=True), vocab_size=vocabulary, show_progress=False
    )
    return tuple(np.array(tokenizer.encode(text).ids, np.int32) for text in (training, held_out))


def windows(tokens: np.ndarray, seed: int, shape: tuple[int, int], length: int):
    """`(x, y)` of random windows, `y` one token further on: arrays of `(*shape, length)`."""
    starts = np.random.default_rng([seed, 1]).integers(0, len(tokens) - length - 1, size=shape)
    places = starts[..., None] + np.arange(length)
    return tokens[places], tokens[places + 1]


def even_windows(tokens: np.ndarray, shape: tuple[int, int], length: int):
    """The same for held-out text, with windows spread evenly over all of it."""
    starts = np.linspace(0, len(tokens) - length - 2, np.prod(shape)).astype(int).reshape(shape)
    places = starts[..., None] + np.arange(length)
    return tokens[places], tokens[places + 1]


def unigram_loss(training: np.ndarray, targets: np.ndarray, classes: int) -> float:
    """Mean cross-entropy of `targets` under the frequencies of `training`."""
    counts = np.bincount(np.ravel(training), minlength=classes) + 1.0
    return float(-np.mean(np.log(counts / counts.sum())[np.ravel(targets)]))


@functools.cache
def digits():
    """Scikit-learn's digits: `ImageData`, 8 x 8 pixels."""
    return load_images("digits")


@functools.cache
def fashion():
    """Fashion-MNIST: `ImageData`, 28 x 28 pixels; Debian has it as `dataset-fashion-mnist`."""
    return load_images("fashion-mnist")


def draw(count: int, seed: int, updates: int, batch: int) -> np.ndarray:
    """Indices of shape `(updates, batch)`: one shuffled pass over the data after another."""
    generator = np.random.default_rng([seed, 2])
    passes = -(-updates * batch // count)
    order = np.concatenate([generator.permutation(count) for _ in range(passes)])
    return order[: updates * batch].reshape(updates, batch)


def fashion_batches(seed: int, updates: int, batch: int):
    """`(x, y)`: grey levels from 0 to 255 as bytes, and classes."""
    split = fashion().training
    chosen = draw(len(split), seed, updates, batch)
    return split.images[chosen], split.labels[chosen].astype(np.int32)


def fashion_held_out(batches: int = 10):
    """The published test split, in batches of 1,000; `batches=10` is all of it."""
    split = fashion().validation
    images, labels = split.images[: 1000 * batches], split.labels[: 1000 * batches]
    return images.reshape(batches, -1, 28, 28, 1), labels.astype(np.int32).reshape(batches, -1)


def fashion_trivial_loss() -> float:
    """The loss of the training classes' shares."""
    return unigram_loss(fashion().training.labels, fashion().validation.labels, 10)
