import bz2
import contextlib
import ctypes
import functools
import gc
import gzip
import itertools
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import tokenizers

import recipes
from recipes.common.command_line.errors import InputError
from recipes.text import parts, sources
from recipes.text import records as text_records
from recipes.text.documents import SEPARATOR, is_held_out, standard_library
from recipes.text.shards import open_shards
from recipes.text.sources import find_inputs, list_inputs
from recipes.text.tokenizer import train_tokenizer
from recipes.tokenize import index as index_of_shards
from recipes.tokenize import recipe as tokenize
from recipes.tokenize import sharding
from recipes.tokenize.encoding import encode_in_order
from tests.backends import only_on
from tests.fifos import make_fifo

pytestmark = only_on("jax", reason="no tokens depend on the backend")

ROOT = Path(recipes.__file__).parent.parent


@functools.cache
def library():
    return standard_library().texts


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = library()[:40]
    train_tokenizer(texts, 600, folder).save(str(folder / "bpe.json"))
    return folder / "bpe.json"


@pytest.fixture
def records():
    rng = np.random.default_rng(1)
    words = np.array("loss rate Größe 学习率 falls\n rises  model\t 12 def x's don't".split(" "))
    return [f"{i} " + " ".join(rng.choice(words, rng.integers(1, 90))) for i in range(200)]


@pytest.fixture
def jsonl(tmp_path, records):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in records))
    return path


def options(data, out, tokenizer_file, **others):
    given = {
        "data": data, "out": out, "tokenizer": tokenizer_file, "shard_tokens": 1500,
        "validation_share": 0.1, "workers": 1, **others,
    }  # fmt: skip
    return [f"--{k.replace('_', '-')}={v}" for k, v in given.items()]


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


# So small that both workers are busy for most of the time.
_IN_SMALL_TASKS = """
from recipes.tokenize import recipe as tokenize
from recipes.tokenize import index as index_of_shards
from recipes.tokenize import sharding

sharding._TASK = 3000
tokenize.main()
"""


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-c", _IN_SMALL_TASKS, *arguments],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        tokenize.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m recipes.tokenize: error: ") and error.count("\n") == 1
    return error


# --- sources ---------------------------------------------------------------------------------


def texts_of(data, column="text"):
    """The documents as the sources give them, their parts put together."""
    found, open_ = [], False
    for source in list_inputs([str(d) for d in data], column):
        for part in source.parts():
            found[-1:] = [found[-1] + part.text] if open_ else [*found[-1:], part.text]
            open_ = not part.last
            assert 0 <= part.done <= 1
    return found


def test_every_format_gives_the_same_documents(tmp_path, records, jsonl):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    half = len(records) // 2
    (tmp_path / "parts").mkdir()
    for name, part in (("0.parquet", records[:half]), ("1.parquet", records[half:])):
        table = pyarrow.table({"id": list(range(len(part))), "text": part})
        parquet.write_table(table, tmp_path / "parts" / name, row_group_size=7)
    lines = jsonl.read_bytes()
    (tmp_path / "data.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "data.txt").write_text(f"\n{SEPARATOR}\n".join(records), newline="")
    assert texts_of([jsonl]) == records
    assert texts_of([tmp_path / "data.jsonl.gz"]) == records
    assert texts_of([tmp_path / "parts"]) == records
    assert texts_of([tmp_path / "data.txt"]) == [text.strip("\n") for text in records]
    zstandard = pytest.importorskip("zstandard")
    # Two frames, as parallel compressors write.
    compress = zstandard.ZstdCompressor().compress
    cut = lines.index(b"\n") + 1
    (tmp_path / "data.jsonl.zst").write_bytes(compress(lines[:cut]) + compress(lines[cut:]))
    assert texts_of([tmp_path / "data.jsonl.zst"]) == records


def test_a_stream_gives_the_documents_of_its_files(tmp_path, records, monkeypatch):
    """Hugging Face's loader, on a folder, for which it needs no network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets")
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    (tmp_path / "hub").mkdir()
    for i in range(3):
        table = pyarrow.table({"text": records[i::3], "id": list(range(len(records[i::3])))})
        parquet.write_table(table, tmp_path / "hub" / f"{i}.parquet")
    expected = [text for i in range(3) for text in records[i::3]]
    name = f"hf:{tmp_path / 'hub'}"
    assert len(list_inputs([name])) == 3
    assert texts_of([name]) == expected
    with pytest.raises(ValueError, match=r"there are .*Received: text_column=body"):
        texts_of([name], "body")
    with pytest.raises(ValueError, match=r"could not be opened.*Received: data=hf:/no/where"):
        list_inputs(["hf:/no/where:config:train"])


@pytest.mark.parametrize("package", ["datasets", "pyarrow", "zstandard"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    names = {"datasets": "hf:a/b", "pyarrow": "x.parquet", "zstandard": "x.jsonl.zst"}
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    (tmp_path / "x.jsonl.zst").write_bytes(b"")
    with pytest.raises(ImportError, match=rf"package {package}.*\[data\].*Received: data="):
        texts_of([names[package]])


def test_broken_inputs_are_named(tmp_path):
    pytest.importorskip("pyarrow")

    def broken(name, data, message):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=message + rf".*Received: .*{name}"):
            texts_of([tmp_path / name])

    good = b'{"text": "one"}\n' * 50
    broken("a.jsonl", good + b"{\n", "not a JSON object")
    broken("b.jsonl", good + b"[1]\n", "not a JSON object")
    broken("c.jsonl", b'{"body": "one"}\n', "no such column; there are body")
    broken("d.jsonl", b'{"text": 3}\n', "holds int, not text")
    broken("e.jsonl.gz", gzip.compress(good)[:-12], "ends early: .* bytes could")
    broken("f.parquet", b"PAR1 no", "parquet file is damaged")
    with pytest.raises(FileNotFoundError, match="Received: data=nowhere"):
        list_inputs(["nowhere"])
    (tmp_path / "half.jsonl").write_text('{"text": "half a pair \\ud83d."}\n')
    assert texts_of([tmp_path / "half.jsonl"]) == ["half a pair ?."]


def test_a_folder_may_hold_other_things(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.txt").write_text(f"first{SEPARATOR}second\r\n")
    (folder / "b.png").write_bytes(b"\x89PNG\xff")
    (folder / "c.txt").write_bytes(b"zero \0 byte")
    (folder / "d.txt").write_text(f"\n{SEPARATOR}\n \n")
    assert texts_of([folder]) == ["first", "second\r"]


@pytest.mark.parametrize("limit", [150, 400, 5000])
def test_parts_of_a_long_document_have_the_tokens_of_the_whole(tmp_path, tokenizer_file, limit):
    """Real code and prose, with every kind of white space at some cut."""
    text = "".join(library()[:3])[:40_000] + " \t\n\n  '  's  \x1c \u3000x\r\n" * 50 + "end"
    (tmp_path / "long.txt").write_text(text, newline="")
    (tmp_path / "long.jsonl").write_text(json.dumps({"text": text}))
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    whole = tokenizer.encode(text).ids
    for name in ("long.txt", "long.jsonl"):
        (source,) = list_inputs([str(tmp_path / name)])
        parts = list(source.parts(limit))
        assert "".join(part.text for part in parts) == text
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
        assert max(len(part.text) for part in parts) <= limit
        assert [i for part in parts for i in tokenizer.encode(part.text).ids] == whole


def test_text_without_a_place_to_cut_is_cut_anyway(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 1000)
    parts = list(list_inputs([str(tmp_path / "a.txt")])[0].parts(64))
    assert [len(part.text) for part in parts] == [64] * 15 + [40]


@pytest.mark.parametrize("limit", [16, 17, 23, 2**20])
def test_a_separator_across_two_blocks_is_found(tmp_path, monkeypatch, limit):
    """Nor is it cut in two where the text has no white space to cut at."""
    monkeypatch.setattr(parts, "_BLOCK", 16)
    texts = ["x" * (1 + i % 41) for i in range(200)]
    (tmp_path / "a.txt").write_text(SEPARATOR.join(texts))
    (source,) = list_inputs([str(tmp_path / "a.txt")])
    found = "".join(part.text + "|" * part.last for part in source.parts(limit))
    assert found.split("|")[:-1] == texts


# --- shards ----------------------------------------------------------------------------------


def test_tokens_are_those_of_the_library(tmp_path, records, jsonl, tokenizer_file):
    """Document by document, against the library's own call; the split against its definition."""
    out = tmp_path / "out"
    index = tokenize.main(options(jsonl, out, tokenizer_file))
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    _, tokens, _ = open_shards(out)
    for split, held_out in (("training", False), ("validation", True)):
        texts = [text for text in records if is_held_out(text, 0.1) == held_out]
        expected = [i for text in texts for i in [*tokenizer.encode(text).ids, 0]]
        assert tokens[split][:].tolist() == expected
        assert index[split]["documents"] == len(texts) > 0
    # All shards but the last have what was asked for, and not a document more.
    totals = {}
    for shard in index["training"]["shards"] + index["validation"]["shards"]:
        group = shard["name"].split("-")[1]
        totals[group] = totals.get(group, 0) + shard["tokens"]
    longest = max(len(tokenizer.encode(text).ids) for text in records) + 1
    whole = [totals[group] for group in sorted(totals)][:-1]
    assert len(whole) > 4 and all(1500 <= total < 1500 + longest for total in whole)


def test_a_tokenizer_file_cannot_shorten_or_mark_documents(tmp_path, jsonl, records):
    """Truncation, padding, templates and special tokens in the text: none has an effect."""
    plain = train_tokenizer(records, 300, tmp_path / "cache")
    # What the last record says is text, not the end of a document.
    with jsonl.open("a") as file:
        file.write(json.dumps({"text": f"about {SEPARATOR} and more"}) + "\n")
    plain.save(str(tmp_path / "plain.json"))
    plain.enable_truncation(5)
    plain.enable_padding(length=50)
    plain.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{SEPARATOR} $A", special_tokens=[(SEPARATOR, 0)]
    )
    plain.save(str(tmp_path / "odd.json"))
    found = []
    for name in ("plain", "odd"):
        tokenize.main(options(jsonl, tmp_path / name, tmp_path / f"{name}.json"))
        found.append([p.read_bytes() for p in sorted((tmp_path / name).glob("*.u16"))])
    assert found[0] == found[1]
    _, tokens, _ = open_shards(tmp_path / "odd")
    ends = sum(int((tokens[s][:] == 0).sum()) for s in ("training", "validation"))
    assert ends == len(records) + 1


def test_large_vocabularies_take_four_bytes(tmp_path, tokenizer_file, jsonl):
    facts = json.loads(tokenizer_file.read_text())
    facts["model"]["vocab"].update({f"extra {i}": 600 + i for i in range(2**16)})
    (tmp_path / "large.json").write_text(json.dumps(facts))
    tokenize.main(options(jsonl, tmp_path / "wide", tmp_path / "large.json"))
    tokenize.main(options(jsonl, tmp_path / "narrow", tokenizer_file))
    wide, narrow = open_shards(tmp_path / "wide"), open_shards(tmp_path / "narrow")
    assert wide[0]["dtype"] == "uint32" and wide[1]["training"].dtype == "<u4"
    np.testing.assert_array_equal(wide[1]["training"][:], narrow[1]["training"][:])


def test_a_long_document_falls_to_both_sides_with_separators_between(
    tmp_path, tokenizer_file, monkeypatch
):
    """One text file can be trained on; no stretch of one side runs into another."""
    original = sources.Input.parts
    monkeypatch.setattr(sources.Input, "parts", lambda self: original(self, 400))
    text = "".join(library()[:5])[:30_000]
    (tmp_path / "one.txt").write_text(text, newline="")
    index = tokenize.main(options(tmp_path / "one.txt", tmp_path / "out", tokenizer_file))
    _, tokens, tokenizer = open_shards(tmp_path / "out")
    stretches = []
    for split in ("training", "validation"):
        ids = tokens[split][:]
        assert ids[-1] == 0
        ends = np.flatnonzero(ids == 0)
        assert len(ends) == index[split]["documents"] > 1
        stretches += [tokenizer.decode(d.tolist()) for d in np.split(ids, ends + 1)[:-1]]
    places = sorted((text.find(stretch), len(stretch)) for stretch in stretches)
    assert places[0][0] == 0
    for (a, length), (b, _) in itertools.pairwise(places):
        assert a + length == b


def test_any_number_of_workers_writes_the_same_bytes(tmp_path, tokenizer_file, records):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"body": t * 100}) + "\n" for t in records[:40]))
    for workers in (1, 2):
        tokenize.main(
            options(
                path, tmp_path / str(workers), tokenizer_file,
                workers=workers, text_column="body", shard_tokens=100_000,
            )
        )  # fmt: skip
    one = content(tmp_path / "1")
    assert len([name for name in one if name.startswith("training")]) > 2
    assert one == content(tmp_path / "2")


@pytest.mark.parametrize("after", [0, 1, 2, 5, 9])
def test_broken_off_anywhere_it_goes_on_to_the_same_bytes(
    tmp_path, tokenizer_file, jsonl, after, monkeypatch
):
    """Inside a shard, and between the renaming of the shards and the writing of the index."""
    arguments = options(jsonl, tmp_path / "whole", tokenizer_file)
    tokenize.main(arguments)
    arguments = options(jsonl, tmp_path / "parts", tokenizer_file)
    original, calls = sharding.write_json, []

    def killed(path, value):
        calls.append(path)
        if len(calls) > after:
            raise KeyboardInterrupt
        original(path, value)

    with monkeypatch.context() as patch:
        for module in (index_of_shards, sharding):
            patch.setattr(module, "write_json", killed)
        with pytest.raises(SystemExit):
            tokenize.main(arguments)
    done = {p: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("training-*")}
    tokenize.main(arguments)
    # What was complete was not done again; the shard of the moment was.
    again = [path for path, when in done.items() if path.stat().st_mtime_ns != when]
    assert len(again) <= 1
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path, tokenizer_file):
    """SIGKILL of the program while two workers are busy, several times."""
    (tmp_path / "texts").mkdir()
    for i, text in enumerate(library()[:40]):
        (tmp_path / "texts" / f"{i:03}.py").write_text(text, newline="")
    others = {"workers": 2, "shard_tokens": 8_000}
    tokenize.main(options(tmp_path / "texts", tmp_path / "whole", tokenizer_file, **others))
    arguments = options(tmp_path / "texts", tmp_path / "parts", tokenizer_file, **others)
    rng = np.random.default_rng(0)
    kills = 0
    for _ in range(2):
        shards = len(list((tmp_path / "parts").glob("training-*")))
        process = start(arguments)
        workers = []
        deadline = time.time() + 60
        # To a random moment after some progress, however fast the machine is.
        while process.poll() is None and time.time() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess):
                workers = psutil.Process(process.pid).children() or workers
            if len(list((tmp_path / "parts").glob("training-*"))) > shards:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        kills += process.poll() is None
        process.kill()
        process.wait()
        # The workers see it and leave.
        left = psutil.wait_procs(workers, timeout=20)[1]
        for worker in left:
            worker.kill()
        assert not left
    tokenize.main(arguments)
    assert kills >= 1
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_done_already_is_said_and_nothing_changes(tmp_path, tokenizer_file, jsonl, capsys):
    arguments = options(jsonl, tmp_path / "out", tokenizer_file)
    tokenize.main(arguments)
    before = content(tmp_path / "out")
    tokenize.main(arguments)
    assert "Complete already" in capsys.readouterr().out
    assert content(tmp_path / "out") == before


def test_a_tokenizer_is_trained_on_a_sample_of_the_training_documents(
    tmp_path, text_folder, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        tokenize, "train_tokenizer", lambda t, n: seen.extend(t) or train_tokenizer(t, n)
    )
    arguments = options(text_folder, tmp_path / "out", "train", vocabulary=300)
    index = tokenize.main(arguments)
    texts = {p.read_text().strip("\n") for p in text_folder.iterdir()}
    assert set(seen) == {text for text in texts if not is_held_out(text, 0.1)}
    assert index["vocabulary_size"] <= 300
    # A resumed run takes the tokenizer of the folder.
    seen.clear()
    tokenize.main(arguments)
    assert not seen
    # The sample is bounded, and of the beginning of every input.
    config = tokenize.Tokenize(data=(str(text_folder),), train_megabytes=1)
    inputs = list_inputs([str(text_folder)] * 60)
    sample = tokenize.training_texts(inputs, config)
    assert 0.5e6 < sum(map(len, sample)) < 1.1e6
    assert len(sample) > 1000


# --- errors ----------------------------------------------------------------------------------


def test_another_run_in_the_folder_is_refused(tmp_path, tokenizer_file, jsonl, capsys):
    out = tmp_path / "out"
    arguments = options(jsonl, out, tokenizer_file)
    tokenize.main(arguments)
    before = content(out)
    assert "shard_tokens=99" in refused([*arguments, "--shard-tokens=99"], capsys)
    assert "validation_share=0.5" in refused([*arguments, "--validation-share=0.5"], capsys)
    with jsonl.open("a") as file:
        file.write('{"text": "one more"}\n')
    assert "inputs are not those" in refused(arguments, capsys)
    jsonl.write_bytes(jsonl.read_bytes().rpartition(b'{"text": "one more"')[0])
    train_tokenizer(["other text " * 9], 300, tmp_path / "c").save(str(tmp_path / "other.json"))
    assert "tokenizer is not the one" in refused(
        [*arguments, f"--tokenizer={tmp_path / 'other.json'}"], capsys
    )
    assert content(out) == before


def test_a_folder_with_something_else_in_it_is_refused(tmp_path, tokenizer_file, jsonl, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "tokenizer.json").write_text("precious")
    error = refused(options(jsonl, out, tokenizer_file), capsys)
    assert "not empty" in error and "tokenizer.json" in error
    assert (out / "tokenizer.json").read_text() == "precious"


def test_two_processes_cannot_write_to_one_folder(tmp_path, tokenizer_file, jsonl, capsys):
    out = tmp_path / "out"
    out.mkdir()
    holder = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
            "print(flush=True); sys.stdin.read()",
            str(out / ".lock"),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    holder.stdout.readline()
    error = refused(options(jsonl, out, tokenizer_file), capsys)
    assert "Another process is writing" in error and f"Received: out={out}" in error
    assert not content(out)
    # Not even a process that was killed leaves the folder locked.
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    tokenize.main(options(jsonl, out, tokenizer_file))


def test_damage_to_a_begun_folder_is_named(tmp_path, tokenizer_file, jsonl, capsys):
    out = tmp_path / "out"
    arguments = options(jsonl, out, tokenizer_file)
    tokenize.main(arguments)
    os.truncate(out / "training-00000.u16", 10)
    assert "training-00000.u16 with 10 bytes" in refused(arguments, capsys)
    index = json.loads((out / "index.json").read_text())
    (out / "index.json").write_text(json.dumps({**index, "version": 7}))
    assert "version=7" in refused(arguments, capsys)


@pytest.mark.parametrize("kind", ["file", "read-only"])
def test_an_unwritable_folder_is_one_error(tmp_path, tokenizer_file, jsonl, capsys, kind):
    if kind == "file":
        (tmp_path / "f").write_text("precious")
        out = tmp_path / "f" / "out"
    else:
        # Not even root may write there.
        out = Path("/proc/out" if sys.platform == "linux" else "/System/out")
    error = refused(options(jsonl, out, tokenizer_file), capsys)
    wrong = {"file": "There is a file where a folder is needed", "read-only": "cannot be written"}
    assert wrong[kind] in error and f"Received: out={out}" in error
    if kind == "file":
        assert (tmp_path / "f").read_text() == "precious"


def test_wrong_options_are_one_error(tmp_path, tokenizer_file, jsonl, capsys):
    def error(**others):
        given = options(jsonl, tmp_path / "o", tokenizer_file)
        return refused(
            [*given, *(f"--{k.replace('_', '-')}={v}" for k, v in others.items())], capsys
        )

    assert "vocabulary=300, tokenizer=" in error(vocabulary=300)
    assert "has 600 tokens" in error(vocabulary=300)
    assert "No such tokenizer" in error(tokenizer=tmp_path / "no.json")
    assert "not one of the tokenizers library" in error(tokenizer=jsonl)
    assert "separator=<none>" in error(separator="<none>")
    assert "Received: workers=0" in error(workers=0)
    assert "Received: workers=many" in error(workers="many")
    assert "Received: validation_share=1.0" in error(validation_share=1.0)
    assert "Received: shard_tokens=0" in error(shard_tokens=0)
    assert "Received: vocabulary=9" in error(tokenizer="train", vocabulary=9)
    assert "Received: data=" in error(data=tmp_path / "none")
    assert not list((tmp_path / "o").glob("*.json"))


def mount_small(folder, megabytes):
    """A tmpfs of so many megabytes, or a skip where this process may not mount one."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    size = f"size={megabytes}m".encode()
    if not hasattr(libc, "mount") or libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, size):
        pytest.skip("only root can mount a small file system")
    return libc


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_full_disk_keeps_what_is_complete(tmp_path, capsys):
    # A token a byte fills the disk soonest.
    tokenizer = tmp_path / "bytes.json"
    train_tokenizer(["text"], 257, tmp_path / "cache").save(str(tokenizer))
    (tmp_path / "texts").mkdir()
    text = "".join(library())[:700_000]
    for i in range(70):
        (tmp_path / "texts" / f"{i:03}.py").write_text(text[i * 10_000 :][:10_000])
    disk = tmp_path / "disk"
    libc = mount_small(disk, 1)
    others = {"shard_tokens": 100_000}
    try:
        out = disk / "out"
        error = refused(options(tmp_path / "texts", out, tokenizer, **others), capsys)
        assert "make room" in error and f"Received: out={out}" in error
        index = json.loads((out / "index.json").read_text())
        assert not index["complete"] and len(index["training"]["shards"]) >= 2
        left = {path.name for path in out.iterdir()}
        assert not [name for name in left if name.startswith(".partial")]
        # With room, the same command continues with what is there.
        roomy = tmp_path / "roomy"
        shutil.copytree(out, roomy)
    finally:
        libc.umount2(str(disk).encode(), 2)
    tokenize.main(options(tmp_path / "texts", roomy, tokenizer, **others))
    tokenize.main(options(tmp_path / "texts", tmp_path / "whole", tokenizer, **others))
    assert content(roomy) == content(tmp_path / "whole")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_reading_needs_the_same_memory_for_any_size(tmp_path, name):
    """Python's own count: 24 MB of text, once as a single document, in a few megabytes."""
    line, count = "some words that fill a line of text\n" * 1000, 680
    if name == "a.parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        parquet.write_table(pyarrow.table({"text": [line] * count}), tmp_path / name)
    else:
        data = line if name == "a.txt" else json.dumps({"text": line}) + "\n"
        with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as file:
            for _ in range(count):
                file.write(data)
    (source,) = list_inputs([str(tmp_path / name)])
    tracemalloc.start()
    try:
        size = sum(len(part.text) for part in source.parts())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == len(line) * count - (name == "a.txt")
    assert peak < 8e6


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_is_read_than_the_workers_need(tokenizer_file, workers):
    taken = []

    def tasks():
        for i in range(50):
            taken.append(i)
            yield [f"text {i}"]

    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    results = encode_in_order(tasks(), list, tokenizer.to_str(), "uint16", workers)
    for i, (task, ids) in enumerate(results):
        assert task == [f"text {i}"]
        assert np.frombuffer(ids[0], "<u2").tolist() == tokenizer.encode(task[0]).ids
        assert len(taken) <= i + 1 + 3 * workers
    assert len(taken) == 50


# --- damage, other encodings, other people's files -------------------------------------------


def flushed(suffix, lines):
    """Compressed, and flushed after each line, as a writer does that may be killed."""
    if suffix == ".zst":
        zstandard = pytest.importorskip("zstandard")
        compressor = zstandard.ZstdCompressor().compressobj()
        parts = [
            compressor.compress(x) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            for x in lines
        ]
    elif suffix == ".gz":
        compressor = zlib.compressobj(wbits=31)
        parts = [compressor.compress(x) + compressor.flush(zlib.Z_SYNC_FLUSH) for x in lines]
    else:
        compressor = {".bz2": bz2.BZ2Compressor, ".xz": lzma.LZMACompressor}[suffix]()
        parts = [compressor.compress(x) for x in lines]
    return [*parts, compressor.flush()]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_compressed_file_that_ends_between_two_lines_is_refused(
    tmp_path, tokenizer_file, records, suffix, capsys
):
    parts = flushed(suffix, [json.dumps({"text": t}).encode() + b"\n" for t in records])
    path = tmp_path / f"data.jsonl{suffix}"
    path.write_bytes(b"".join(parts))
    assert texts_of([path]) == records
    for count in (len(parts) - 1, 150, 100):
        path.write_bytes(b"".join(parts[:count]))
        out = tmp_path / f"out{count}"
        error = refused(options(path, out, tokenizer_file), capsys)
        assert "ends early" in error and path.name in error and "bytes could be" in error
        assert not json.loads((out / "index.json").read_text())["complete"]


@pytest.mark.parametrize("share", [0.97, 0.8, 0.5, 0.0])
def test_a_parquet_file_that_is_cut_is_refused(tmp_path, records, share):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": records}), path, row_group_size=20)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(InputError, match=r"damaged.*Received: data=.*a\.parquet"):
        texts_of([path])


def test_parquet_that_is_not_utf8_is_one_error(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    texts = pyarrow.array([b"good", b"bad \xff"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"Received: data=.*a\.parquet"):
        texts_of([tmp_path / "a.parquet"])


def test_a_line_longer_than_any_document_is_refused(tmp_path):
    """Sixty-four megabytes in a file of 64 kB, in bounded memory."""
    block = zlib.compressobj(wbits=31)
    with (tmp_path / "a.jsonl.gz").open("wb") as file:
        file.write(block.compress(b'{"text": "'))
        for _ in range(64):
            file.write(block.compress(b"a" * 2**20))
        file.write(block.flush())
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"longer than 8,388,608 bytes.*line 1"):
            texts_of([tmp_path / "a.jsonl.gz"])
        assert tracemalloc.get_traced_memory()[1] < 1e8
    finally:
        tracemalloc.stop()


def test_a_long_line_of_nested_lists_is_parsed_in_one_go(tmp_path):
    """The garbage collector went through the growing lists again and again: ten seconds."""
    nested = "[" * 800 + "]" * 800
    count = (text_records.LINE - 100) // (len(nested) + 1)
    line = '{"text": "x", "other": [' + ",".join([nested] * count) + "]}"
    (tmp_path / "a.jsonl").write_text(line + "\n")
    collected = []
    gc.callbacks.append(lambda phase, info: collected.append(phase))
    try:
        assert texts_of([tmp_path / "a.jsonl"]) == ["x"]
    finally:
        gc.callbacks.pop()
    assert gc.isenabled() and len(collected) < 50


@pytest.fixture
def mixed(tmp_path, records):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02}.txt").write_text(records[i], newline="")
    (folder / "latin.txt").write_bytes("Größe und Maß".encode("latin-1"))
    (folder / "picture.txt").write_bytes(b"zero \0 byte")
    return folder


def test_files_that_are_no_text_are_named_and_counted(tmp_path, mixed, tokenizer_file, capsys):
    index = tokenize.main(options(mixed, tmp_path / "a", tokenizer_file))
    shown = capsys.readouterr().out
    assert "2 files skipped" in shown and "mixed/latin.txt: not utf-8" in shown
    assert [skipped["name"] for skipped in index["skipped"]] == [
        "mixed/latin.txt", "mixed/picture.txt"
    ]  # fmt: skip
    assert len(index["inputs"]) == 40
    error = refused(options(mixed / "latin.txt", tmp_path / "b", tokenizer_file), capsys)
    assert "not utf-8" in error and "latin.txt" in error
    error = refused(options(mixed, tmp_path / "c", tokenizer_file, errors="strict"), capsys)
    assert "latin.txt" in error


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "shift_jis"])
def test_other_encodings_give_the_text(tmp_path, tokenizer_file, encoding):
    text = {"latin-1": "Größe und Maß", "utf-16": "Größe 学习率", "shift_jis": "学習率"}[encoding]
    (tmp_path / "a.txt").write_bytes((text * 50).encode(encoding))
    found = find_inputs([str(tmp_path / "a.txt")], encoding=encoding).inputs
    assert [part.text for part in found[0].parts()] == [text * 50]
    (tmp_path / "a.txt").write_bytes(b"good \xff end")
    (source,) = find_inputs([str(tmp_path / "a.txt")], errors="replace").inputs
    assert [part.text for part in source.parts()] == ["good \ufffd end"]


@pytest.mark.parametrize("encoding", ["nothing", "rot13", "base64", "undefined", "", "a\0b"])
def test_an_encoding_that_is_none_is_one_error(encoding):
    with pytest.raises(InputError, match="Received: encoding="):
        tokenize.Tokenize(encoding=encoding)


def test_a_file_of_the_same_size_is_another_input(tmp_path, tokenizer_file, records, capsys):
    """The beginning, the middle and the end, with the time of change of before."""
    path = tmp_path / "a.txt"
    text = "\n".join(records) * 3
    path.write_text(text, newline="")
    when, size = path.stat().st_mtime_ns, path.stat().st_size
    arguments = options(path, tmp_path / "out", tokenizer_file)
    tokenize.main(arguments)
    before = content(tmp_path / "out")
    data = path.read_bytes()
    for at in (0, size // 2, size - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        os.utime(path, ns=(when, when))
        error = refused(arguments, capsys)
        assert "inputs are not those" in error and "differs is a.txt" in error
    assert content(tmp_path / "out") == before
    path.write_bytes(data)
    tokenize.main(arguments)


def test_nothing_of_others_is_deleted(tmp_path, tokenizer_file, jsonl, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for name in (".partial-thesis.docx", ".partial-abcd1234.json", "letter.txt"):
        (out / name).write_text("precious")
    before = content(out)
    assert "not empty" in refused(options(jsonl, out, tokenizer_file), capsys)
    assert content(out) == before
    # Nor in a folder that is ours; there, what a killed run was writing goes.
    arguments = options(jsonl, tmp_path / "ours", tokenizer_file)
    tokenize.main(arguments)
    (tmp_path / "ours" / ".partial-thesis.docx").write_text("precious")
    (tmp_path / "ours" / ".partial-h0h1-12-abcd1234.u16").write_text("half a shard")
    tokenize.main(arguments)
    assert (tmp_path / "ours" / ".partial-thesis.docx").read_text() == "precious"
    assert not (tmp_path / "ours" / ".partial-h0h1-12-abcd1234.u16").exists()


@pytest.mark.parametrize("name", ["data.txt", "data.jsonl", "data.jsonl.zst", "data.parquet"])
def test_a_fifo_does_not_hang(tmp_path, name):
    make_fifo(tmp_path / name)
    with pytest.raises(InputError, match="special file"):
        texts_of([tmp_path / name])
