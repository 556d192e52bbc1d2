"""How fast and in how much memory text becomes shards: `python -m benchmarks.tokenizing`.

Makes a JSONL file of real text, the standard library's source, over and over, with a fifth of
the lines of each document moved so that no two documents are equal. Tokenises it by
`python -m recipes.tokenize` on all cores. Every half minute the program and its workers are
stopped, the library's own `Tokenizer.encode_batch` tokenises a slice of the same text, and they
go on: so both meet the same moments of a machine that others use as well. Prints both speeds in
MB/s, their ratio and the largest resident memory of the program and its workers together. The
result goes to `benchmarks/results/tokenizing_<backend>.json`; the backend has no part in it.

The library's call is given everything that makes it fast: texts that are in memory, batches of
64, no special tokens, all cores; what it returns is thrown away. The program's time is from its
start to its end, less the stops, and contains reading, the hash of every document, and writing.
"""

import contextlib
import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import tokenizers

from benchmarks.common import write_result
from recipes.common.command_line.console import one_line_errors
from recipes.common.command_line.options import build, check_options, option, parse
from recipes.text.documents import standard_library
from recipes.text.tokenizer import train_tokenizer

PROGRAM = "python -m benchmarks.tokenizing"


def variations(megabytes: float):
    """Documents of the standard library, in turn, each with a fifth of its lines moved."""
    rng = random.Random(0)
    texts = standard_library().texts
    size = 0
    while True:
        for text in texts:
            lines = text.splitlines(keepends=True)
            for _ in range(len(lines) // 10):
                i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[i], lines[j] = lines[j], lines[i]
            text = "".join(lines)
            yield text
            size += len(text.encode())
            if size >= megabytes * 1e6:
                return


class Program:
    """The program as a process, whose family of workers can be stopped and measured."""

    def __init__(self, arguments: list[str]):
        self.popen = subprocess.Popen([sys.executable, "-m", "recipes.tokenize", *arguments])
        self.process = psutil.Process(self.popen.pid)
        self.peak = self.processes = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def _watch(self):
        # Pages that processes share are counted once for each, so the truth is below.
        while self.popen.poll() is None:
            try:
                family = self.family()
                self.peak = max(self.peak, sum(p.memory_info().rss for p in family))
                self.processes = max(self.processes, len(family))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.1)

    @contextlib.contextmanager
    def stopped(self):
        """Suspends the family while the block runs."""
        family = self.family()
        for process in family:
            process.suspend()
        try:
            yield
        finally:
            for process in family:
                process.resume()


def library_seconds(tokenizer: tokenizers.Tokenizer, texts: list[str]) -> float:
    """Seconds of the library's own batch call."""
    start = time.perf_counter()
    for first in range(0, len(texts), 64):
        tokenizer.encode_batch(texts[first : first + 64], add_special_tokens=False)
    return time.perf_counter() - start


@dataclasses.dataclass
class Tokenizing:
    """Tokenizing: how much text."""

    megabytes: float = option(200.0, "of text for the program", low=0.1, high=1e6)
    slice_megabytes: float = option(3.0, "of text for the library's call", low=0.01, high=1e3)
    every: float = option(30.0, "seconds between two slices", low=0.1, high=1e6)
    vocabulary: int = option(8192, "tokens of the tokenizer", low=257, high=2**22)
    shard_tokens: int = option(20_000_000, "tokens in a shard", low=1, high=10**10)

    def __post_init__(self):
        check_options(self)


def run(options: Tokenizing) -> dict:
    """Runs the benchmark, writes and returns its result."""
    tokenizer = train_tokenizer(standard_library().texts, options.vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        size = 0
        with (folder / "text.jsonl").open("w", encoding="utf-8") as file:
            for text in variations(options.megabytes):
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                size += len(text.encode())
        tokenizer.save(str(folder / "tokenizer.json"))
        slices = _slices(options.slice_megabytes)
        library, library_size, stopped = [], [], 0.0
        start = time.perf_counter()
        program = Program(
            [
                f"--data={folder / 'text.jsonl'}",
                f"--tokenizer={folder / 'tokenizer.json'}",
                f"--out={folder / 'shards'}",
                f"--shard-tokens={options.shard_tokens}",
            ]
        )
        while True:
            try:
                status = program.popen.wait(options.every)
                break
            except subprocess.TimeoutExpired:
                pass
            texts = next(slices)
            begin = time.perf_counter()
            with program.stopped():
                library.append(library_seconds(tokenizer, texts))
            stopped += time.perf_counter() - begin
            library_size.append(sum(len(text.encode()) for text in texts) / 1e6)
        seconds = time.perf_counter() - start - stopped
        if status or not library:
            sys.exit("the program failed, or was done before it could be compared")
        index = json.loads((folder / "shards" / "index.json").read_text("utf-8"))
    speed, library_speed = size / 1e6 / seconds, sum(library_size) / sum(library)
    result = {
        "text_megabytes": size / 1e6,
        "tokens": index["training"]["tokens"] + index["validation"]["tokens"],
        "shards": index["groups"],
        "seconds": seconds,
        "megabytes_per_second": speed,
        "library_call": "Tokenizer.encode_batch, batches of 64 texts",
        "library_megabytes": sum(library_size),
        "library_megabytes_per_second": library_speed,
        "library_slices": [m / s for m, s in zip(library_size, library, strict=True)],
        "ratio": speed / library_speed,
        "peak_resident_megabytes": program.peak / 1e6,
        "processes": program.processes,
    }
    print(
        f"{result['text_megabytes']:,.0f} MB, {result['tokens']:,} tokens, {seconds:.0f} s\n"
        f"  the program: {speed:.2f} MB/s, from start to end\n"
        f"  the library's batch call: {library_speed:.2f} MB/s, {len(library)} slices of "
        f"{options.slice_megabytes:g} MB in between\n  ratio: {result['ratio']:.2f}\n"
        f"  largest resident memory of {program.processes} processes: {program.peak / 1e6:.0f} MB"
    )
    write_result("tokenizing", result)
    return result


def _slices(megabytes: float):
    """Endlessly, lists of so many megabytes of the same kind of text."""
    texts, size = [], 0
    for text in variations(float("inf")):
        texts.append(text)
        size += len(text.encode())
        if size >= megabytes * 1e6:
            yield texts
            texts, size = [], 0


def main(argv: Sequence[str] | None = None) -> dict:
    """The command line."""
    given = parse([Tokenizing], argv, program=PROGRAM, description=__doc__)
    with one_line_errors(PROGRAM):
        return run(build(Tokenizing, given))


if __name__ == "__main__":
    main()
