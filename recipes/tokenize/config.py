"""The options of `python -m recipes.tokenize`."""

import dataclasses
import os
from typing import Literal

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import check_options, option, show
from recipes.text.documents import ENCODING, ERRORS, SEPARATOR, check_decoding

_MOST_WORKERS = 1024


@dataclasses.dataclass
class Tokenize:
    """Tokenize: from text to shards."""

    data: tuple[str, ...] = option(
        (),
        "files (.parquet, .jsonl, .jsonl.gz, .bz2, .xz, .zst, text), folders, or"
        " hf:REPOSITORY[:CONFIGURATION[:SPLIT]], separated by commas"
        " [default: the Python standard library's source]",
        kind="path",
    )
    text_column: str = option("text", "column of parquet and streams, field of JSON lines")
    encoding: str = option(ENCODING, "of text files, a name that Python knows")
    errors: Literal[ERRORS] = option(
        "skip",
        "text files that are not of the encoding. skip: those in a folder are left out, one that"
        " is named is an error; strict: each is an error; replace: U+FFFD for what cannot be read",
    )
    tokenizer: str = option(
        "train", "a file of the tokenizers library, or train: byte-level BPE", kind="path"
    )
    vocabulary: int | None = option(
        None,
        "tokens to train; with a tokenizer file: how many it must have [default: 50280]",
        low=2,
        high=2**22,
    )
    train_megabytes: int = option(
        32,
        "text to train the tokenizer on, from the start of each input in proportion to its size",
        low=1,
        high=10**5,
    )
    separator: str = option(SEPARATOR, "token that follows each document")
    out: str = option("shards", "the folder to write", kind="folder")
    shard_tokens: int = option(
        100_000_000,
        "tokens in a shard, training and held-out; a killed run loses one at most",
        low=1,
        high=10**10,
    )
    validation_share: float = option(
        0.01,
        "share of the documents held out, by their content; 0.01 of a billion tokens is enough",
        above=0,
        below=1,
    )
    workers: str = option("all", "processes that tokenise: a number, or all cores")

    def __post_init__(self):
        check_options(self)
        check_decoding(self.encoding, self.errors)
        if self.tokenizer == "train" and self.wanted_vocabulary < 257:
            raise InputError(
                "`vocabulary` must be >= 257: 256 bytes and the separator. "
                f"Received: vocabulary={self.vocabulary}"
            )
        number = self.workers.isascii() and self.workers.isdecimal() and len(self.workers) <= 4
        if self.workers != "all" and not (number and 1 <= int(self.workers) <= _MOST_WORKERS):
            raise InputError(
                f"`workers` must be a number from 1 to {_MOST_WORKERS}, or all. "
                f"Received: workers={show(self.workers)}"
            )

    @property
    def cores(self) -> int:
        """The number of processes."""
        if self.workers != "all":
            return int(self.workers)
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))  # what this process may use
        return os.cpu_count() or 1

    @property
    def settings(self) -> dict:
        """What the shards depend on besides inputs and tokenizer."""
        trained = self.tokenizer == "train"
        return {
            "shard_tokens": self.shard_tokens,
            "validation_share": self.validation_share,
            "text_column": self.text_column,
            "encoding": self.encoding,
            "errors": self.errors,
            "vocabulary": self.wanted_vocabulary if trained else None,
            "train_megabytes": self.train_megabytes if trained else None,
        }

    @property
    def wanted_vocabulary(self) -> int:
        """Tokens of a trained tokenizer; by default the rows of the papers' embedding."""
        return 50280 if self.vocabulary is None else self.vocabulary
