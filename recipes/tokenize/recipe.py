"""Turns text of any size into token shards to train on: `python -m recipes.tokenize`.

    python -m recipes.tokenize --data texts,more.jsonl.gz --vocabulary 8192 --out shards
    python -m recipes.tokenize --data hf:HuggingFaceFW/fineweb:sample-10BT --out fineweb
    python -m recipes.gpt --data shards

Reads parquet, JSON lines (plain, .gz, .bz2, .xz, .zst), text files and folders, and streams from
Hugging Face, on all cores and in bounded memory. Killed and run again, it continues after the last
complete shard. Which documents are held out, and every byte that is written, depend on the data
and the options alone. A line of JSON has at most 8 MiB.
"""

import concurrent.futures.process
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import filelock
import tokenizers
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.command_line.options import build, parse
from recipes.common.files.writing import StorageError, storage_reason
from recipes.text.documents import (
    describe_skipped,
    is_held_out,
)
from recipes.text.shards import TOKENIZER
from recipes.text.sources import Input, find_inputs
from recipes.text.tokenizer import read_tokenizer, train_tokenizer
from recipes.tokenize.config import Tokenize
from recipes.tokenize.index import LOCK, begin, check_same, new_index, resumable
from recipes.tokenize.sharding import Progress, write_shards

# Keras is not imported here, nor by what is imported: it would take more memory than the work.

PROGRAM = "python -m recipes.tokenize"


def load_tokenizer(config: Tokenize) -> tokenizers.Tokenizer:
    """The tokenizer of the user's file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a tokenizer, or has another number of tokens than was asked for.
    """
    path = Path(config.tokenizer).expanduser()
    if not os.path.exists(path):
        raise MissingInputError(
            f"No such tokenizer; expected a file, or train. Received: tokenizer={config.tokenizer}"
        )
    tokenizer = read_tokenizer(path, f"tokenizer={config.tokenizer}")
    size = tokenizer.get_vocab_size()
    if config.vocabulary is not None and config.vocabulary != size:
        raise InputError(
            f"The tokenizer has {size} tokens; leave `vocabulary` out, or use another tokenizer. "
            f"Received: vocabulary={config.vocabulary}, tokenizer={config.tokenizer}"
        )
    return tokenizer


def training_texts(inputs: Sequence[Input], config: Tokenize) -> list[str]:
    """The beginning of every input, in proportion to its size; no held-out document."""
    total = sum(i.size or 0 for i in inputs)
    limit = config.train_megabytes * 1e6
    texts, read = [], 0
    for source in inputs:
        # Streams have no sizes: the first ones fill the sample.
        quota = limit if source.size is None else limit * source.size / max(total, 1)
        size = 0
        for part in source.parts():
            if read >= limit or size >= quota:
                break
            bytes_ = len(part.text.encode())
            size, read = size + bytes_, read + bytes_
            if not is_held_out(part.text, config.validation_share):
                texts.append(part.text)
        if read >= limit:
            break
    if not texts:
        raise InputError(f"No text was found there. Received: data={','.join(config.data)}")
    return texts


class _Display:
    """The progress bar; in a log file, a line now and then."""

    def __init__(self, console: Console, inputs: int):
        self.console, self.inputs = console, inputs
        self.start = self.spoken = self.drawn = time.perf_counter()
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[facts]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.row = self.bar.add_task("tokenising", total=inputs, facts="")

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        if now - self.drawn < 0.2:
            return
        self.drawn = now
        speed = progress.text_bytes / 1e6 / (now - self.start)
        facts = f"{progress.tokens:,} tokens, {progress.shards} shards, {speed:.1f} MB/s"
        self.bar.update(self.row, completed=progress.done, facts=facts)
        if self.bar.disable and now - self.spoken > 30:
            self.spoken = now
            share = progress.done / self.inputs
            self.console.print(f"{share:4.0%}  {facts}", highlight=False, soft_wrap=True)


def run(config: Tokenize, console: Console) -> dict:
    """Tokenises into `config.out`, or continues with what is there; returns the index."""
    out = Path(config.out).expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            f"Another process is writing to this folder. Received: out={config.out}"
        ) from None
    except OSError as error:
        raise _folder_error(error, config) from error
    # The lock ends with the process too, however that ends.
    try:
        return _run_locked(config, out, console)
    finally:
        lock.release()


def _run_locked(config: Tokenize, out: Path, console: Console) -> dict:
    index = resumable(out)
    inputs, skipped = find_inputs(config.data, config.text_column, config.encoding, config.errors)
    settings = config.settings
    if config.tokenizer != "train":
        tokenizer = load_tokenizer(config)
    elif index is not None:
        tokenizer = read_tokenizer(out / TOKENIZER, f"out={config.out}, {TOKENIZER}")
    else:
        console.print(f"Training a tokenizer on at most {config.train_megabytes} MB ...")
        tokenizer = train_tokenizer(training_texts(inputs, config), config.wanted_vocabulary)
    wanted = new_index(inputs, tokenizer, config.separator, settings, skipped)
    try:
        if index is None:
            begin(out, wanted, tokenizer)
            index = wanted
        else:
            check_same(out, index, wanted)
        done, start = index["groups"], time.perf_counter()
        if index["complete"]:
            console.print("Complete already; nothing is done.")
        elif done:
            console.print(f"Going on after shard {done - 1:05}.")
        display = _Display(console, len(inputs))
        last = Progress(0.0, 0, 0, 0)

        def report(progress):
            nonlocal last
            last = progress
            display(progress)

        with display.bar:
            text = tokenizer.to_str()
            index = write_shards(out, index, inputs, text, config.cores, report)
    except OSError as error:
        raise _folder_error(error, config) from error
    except concurrent.futures.process.BrokenProcessPool as error:
        raise OSError(
            "A worker was killed, perhaps for want of memory; the shards that are complete are "
            f"kept, and the same command continues. Received: workers={config.workers}"
        ) from error
    seconds = time.perf_counter() - start
    training, held_out = index["training"], index["validation"]
    if last.text_bytes:
        console.print(
            f"{last.text_bytes / 1e6:,.1f} MB in {seconds:.1f} s: "
            f"{last.text_bytes / 1e6 / seconds:.2f} MB/s with {config.cores} workers",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"{training['tokens']:,} tokens to train on ({training['documents']:,} documents), "
        f"{held_out['tokens']:,} held out ({held_out['documents']:,}), vocabulary "
        f"{index['vocabulary_size']:,}; train with: python -m recipes.gpt --data {config.out}",
        highlight=False,
        soft_wrap=True,
    )
    if skipped:
        console.print(f"{describe_skipped(skipped)}.", highlight=False, soft_wrap=True)
    for split, part in (("training", training), ("held-out", held_out)):
        if not part["tokens"]:
            console.print(
                f"There is no {split} document: too little data for --validation-share "
                f"{config.validation_share:g}. Training needs both."
            )
    return index


def _folder_error(error: OSError, config: Tokenize) -> OSError:
    reason = storage_reason(error)
    if reason:
        if Path(config.out).is_dir():
            reason += ". The shards that are complete are kept, and the same command continues"
        return StorageError(f"{reason}. Received: out={config.out}")
    if "Received:" in str(error):
        return error
    return OSError(
        f"The folder cannot be written ({error.strerror or error}). Received: out={config.out}"
    )


def main(argv: Sequence[str] | None = None) -> dict:
    """The command line. Errors of the user's making end with one line and status 2."""
    given = parse([Tokenize], argv, program=PROGRAM, description=__doc__)
    console = make_console()
    with one_line_errors(PROGRAM):
        try:
            return run(build(Tokenize, given), console)
        except KeyboardInterrupt:
            console.print("Stopped. The same command continues after the last complete shard.")
            sys.exit(130)
