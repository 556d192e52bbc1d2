"""Many texts to token ids on all cores, in order, with a bounded number of texts on the way."""

import collections
import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tokenizers

_AHEAD = 3  # tasks for each worker: one at work, one waiting, one whose result is being written

_tokenizer: tokenizers.Tokenizer | None = None


def prepare(text: str) -> tokenizers.Tokenizer:
    """A tokenizer from its JSON, set to turn a document into tokens and do nothing else.

    Truncation and padding, which its file may ask for, are off, and the names of special tokens
    in a document are text like any other.
    """
    tokenizer = tokenizers.Tokenizer.from_str(text)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode_texts(tokenizer: tokenizers.Tokenizer, texts: list[str], dtype: str) -> list[bytes]:
    """The ids of each text as little-endian bytes; special tokens are not added."""
    little = np.dtype(dtype).newbyteorder("<")
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [np.asarray(encoding.ids, little).tobytes() for encoding in encodings]


def _start(text: str) -> None:
    global _tokenizer
    # One core a worker: the workers themselves are as many as the cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer = prepare(text)
    # A worker whose parent was killed would wait for work for ever.
    parent = multiprocessing.parent_process()

    def leave():
        parent.join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def _work(texts: list[str], dtype: str) -> list[bytes]:
    return encode_texts(_tokenizer, texts, dtype)


def encode_in_order(
    tasks: Iterable[Any],
    texts_of: Callable[[Any], list[str]],
    tokenizer: str,
    dtype: str,
    workers: int,
) -> Iterator[tuple[Any, list[bytes]]]:
    """Each task with the ids of its texts, in the order of the tasks.

    Processes rather than threads: turning ids into arrays holds Python's lock, and the cores of
    a large machine would wait for it.

    Args:
        tasks: Read as far ahead as the workers need, no further.
        texts_of: From a task to its texts.
        tokenizer: Its JSON.
        dtype: `"uint16"` or `"uint32"`, wide enough for the vocabulary.
        workers: Processes; with 1 the work is done in this one.

    Raises:
        concurrent.futures.process.BrokenProcessPool: If a worker was killed.
    """
    if workers == 1:
        own = prepare(tokenizer)
        for task in tasks:
            yield task, encode_texts(own, texts_of(task), dtype)
        return
    # Not `fork`: the tokenizer's threads may hold locks that a copy would never see released.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, _start, (tokenizer,)) as pool:
        waiting = collections.deque()
        try:
            for task in tasks:
                waiting.append((task, pool.submit(_work, texts_of(task), dtype)))
                if len(waiting) >= _AHEAD * workers:
                    task, future = waiting.popleft()
                    yield task, future.result()
            while waiting:
                task, future = waiting.popleft()
                yield task, future.result()
        finally:
            # On an error nothing more is begun.
            for _, future in waiting:
                future.cancel()
