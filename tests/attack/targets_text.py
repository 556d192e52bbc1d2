"""The readers of text, of tokens and of what is cached of them."""

import bz2
import hashlib
import json
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

# Arrow's other pools reserve more address space than the limit of the harness allows.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

from recipes.text.shards import SPLITS, open_shards
from recipes.text.sources import find_inputs
from recipes.text.tokenizer import encode, train_tokenizer
from recipes.text.tokens import load_corpus
from tests.attack.harness import Target

TEXTS = [f"document {i}: " + "the loss falls, the rate rises. " * (1 + i % 5) for i in range(120)]
LINES = [json.dumps({"text": text, "id": i}).encode() + b"\n" for i, text in enumerate(TEXTS)]


def _digest(texts: list[str]) -> tuple[int, str]:
    return len(texts), hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _documents(name: str) -> Callable[[Path], tuple[int, str]]:
    """Reads one input as `recipes.tokenize` does: the number of documents, and their digest."""

    def read(folder):
        found, open_ = [], False
        for source in find_inputs([str(folder / name)]).inputs:
            for part in source.parts():
                if open_:
                    found[-1] += part.text
                else:
                    found.append(part.text)
                open_ = not part.last
        return _digest(found)

    return read


def _flushed_gzip(lines: list[bytes]) -> bytes:
    """Flushed after each line, as log writers do: cut there, the lines before are whole."""
    compressor = zlib.compressobj(wbits=31)
    pieces = [compressor.compress(line) + compressor.flush(zlib.Z_SYNC_FLUSH) for line in lines]
    return b"".join(pieces) + compressor.flush()


def _flushed_zstd(lines: list[bytes]) -> bytes:
    import zstandard

    # The size is not known when such a writer begins; the checksum is what `zstd` writes.
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return b"".join(compressor.compress(x) + compressor.flush(block) for x in lines) + (
        compressor.flush()
    )


def _writes(name: str, content: Callable[[], bytes]) -> Callable[[Path], list[Path]]:
    def write(folder):
        (folder / name).write_bytes(content())
        return [folder / name]

    return write


def _parquet(**options) -> Callable[[Path], list[Path]]:
    def write(folder):
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table({"text": TEXTS, "id": list(range(len(TEXTS)))})
        parquet.write_table(table, folder / "a.parquet", row_group_size=50, **options)
        return [folder / "a.parquet"]

    return write


def _tokens(name: str, dtype: str) -> Callable[[Path], list[Path]]:
    def write(folder):
        tokens = np.tile(np.arange(300), 20).astype(dtype)
        path = folder / name
        np.save(path, tokens) if name.endswith(".npy") else tokens.tofile(path)
        facts = path.with_name(name + ".json")
        facts.write_text('{"vocabulary_size": 300, "separator": 0}')
        return [path, path, path, facts]

    return write


def _corpus(name: str) -> Callable[[Path], tuple[int, str, int]]:
    def read(folder):
        corpus = load_corpus([str(folder / name)], 300, cache=str(folder / "cache"))
        tokens = np.concatenate([corpus.training[:], corpus.validation[:]])
        return len(tokens), hashlib.sha256(tokens.tobytes()).hexdigest(), corpus.vocabulary_size

    return read


def _write_shards(folder: Path) -> list[Path]:
    from recipes.tokenize import recipe as tokenize

    source = folder / "data.jsonl"
    source.write_bytes(b"".join(LINES))
    out = folder / "shards"
    tokenize.main(
        [
            f"--data={source}", f"--out={out}", "--vocabulary=300", "--shard-tokens=2000",
            "--validation-share=0.2", "--workers=1",
        ]
    )  # fmt: skip
    source.unlink()
    index, tokenizer = out / "index.json", out / "tokenizer.json"
    return [index, index, tokenizer, *sorted(out.glob("*.u16"))]


def _read_shards(folder: Path) -> list:
    index, tokens, tokenizer = open_shards(folder / "shards", folder / "cache")
    return [
        index["vocabulary_size"],
        hashlib.sha256(tokenizer.to_str().encode()).hexdigest(),
        *(hashlib.sha256(tokens[split][:].tobytes()).hexdigest() for split in SPLITS),
    ]


def _cached(pattern: str) -> Callable[[Path], list[Path]]:
    def write(folder):
        _read_cached(folder)
        return sorted((folder / "cache").glob(pattern))

    return write


def _read_cached(folder: Path) -> tuple[str, str]:
    cache = folder / "cache"
    tokenizer = train_tokenizer(TEXTS, 300, cache)
    tokens = encode(tokenizer, TEXTS, cache)
    return tokenizer.to_str(), hashlib.sha256(tokens.tobytes()).hexdigest()


def _any(sound, other) -> bool:
    """Neither characters nor an end are protected in the format."""
    return True


def _same_size(sound, other) -> bool:
    """Ids are not protected; the facts beside the file state the vocabulary."""
    return 0 < other[0] and other[2] <= 2**24


def _jsonl(suffix: str, content: Callable[[], bytes]) -> Target:
    name = f"a.jsonl{suffix}"
    label = name.removeprefix("a.").replace(".", "_")
    return Target(label, _writes(name, content), _documents(name))


TARGETS = [
    Target(
        "txt",
        _writes("a.txt", lambda: "\n<|endoftext|>\n".join(TEXTS).encode()),
        _documents("a.txt"),
        _any,
    ),
    Target("jsonl", _writes("a.jsonl", lambda: b"".join(LINES)), _documents("a.jsonl"), _any),
    _jsonl(".gz", lambda: _flushed_gzip(LINES)),
    _jsonl(".bz2", lambda: bz2.compress(b"".join(LINES))),
    _jsonl(".xz", lambda: lzma.compress(b"".join(LINES))),
    _jsonl(".zst", lambda: _flushed_zstd(LINES)),
    Target("parquet", _parquet(write_page_checksum=True), _documents("a.parquet")),
    # Without checksums another character is one; a text of blanks alone is no document.
    Target(
        "parquet_plain",
        _parquet(compression="zstd", use_dictionary=False, data_page_version="2.0"),
        _documents("a.parquet"),
        lambda sound, other: other[0] <= sound[0],
    ),
    Target("token_file_u16", _tokens("a.u16", "uint16"), _corpus("a.u16"), _same_size),
    Target("token_file_u32", _tokens("a.u32", "uint32"), _corpus("a.u32"), _same_size),
    Target("token_file_npy", _tokens("a.npy", "uint16"), _corpus("a.npy"), _same_size),
    Target("shards", _write_shards, _read_shards),
    Target("tokenizer_cache", _cached("bpe-*.json"), _read_cached, mends=True),
    Target("token_cache", _cached("tokens-*.npy"), _read_cached, mends=True),
]
