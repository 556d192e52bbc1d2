"""The one reader of files, against the libraries' own compressors."""

import bz2
import gc
import gzip
import io
import json
import lzma
import os
import random
import struct
import tracemalloc
import zlib

import pytest
import zstandard

from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.files.decompression import COMPRESSED
from recipes.common.files.reading import (
    inside,
    open_file,
    parse_json,
    read_bytes,
    read_json,
    regular_file,
)
from tests.backends import only_on
from tests.fifos import make_fifo

pytestmark = only_on("tensorflow", reason="files do not depend on the backend")

COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
# Half of it compresses well, half does not, and it is longer than the pieces that are read.
TEXT = b"to be or not to be\n" * 20_000 + random.Random(0).randbytes(200_000)
SKIPPABLE = struct.pack("<II", 0x184D2A50, 5) + b"index"  # a frame of zstd that has no content


def refused(read, *arguments, match="Received: "):
    with pytest.raises(InputError, match=match) as error:
        read(*arguments)
    return str(error.value)


@pytest.fixture(params=COMPRESSED)
def file(request, tmp_path):
    """The path of a compressed file that is still to be written."""
    return tmp_path / f"a{request.param}"


def test_every_compression_is_covered():
    assert set(COMPRESS) == set(COMPRESSED)


@pytest.mark.parametrize("content", [b"", b"a", b"\0" * 3_000_000, TEXT], ids=len)
def test_what_is_compressed_is_read(file, content):
    file.write_bytes(COMPRESS[file.suffix](content))
    assert read_bytes(file, len(content)) == content
    with open_file(file) as lines:
        assert list(lines) == list(io.BytesIO(content))


def test_a_plain_file_is_read_as_it_is(tmp_path):
    (tmp_path / "a.bin").write_bytes(TEXT)
    assert read_bytes(tmp_path / "a.bin", len(TEXT)) == TEXT
    refused(read_bytes, tmp_path / "a.bin", len(TEXT) - 1, match="more than the 579,999 bytes")


def test_several_members_are_one_content(file):
    """As by `cat a.gz b.gz`, an empty member among them."""
    parts = [b"one", b"", TEXT, b"three"]
    file.write_bytes(b"".join(map(COMPRESS[file.suffix], parts)))
    assert read_bytes(file, 2**20) == b"".join(parts)


def test_a_file_that_is_cut_anywhere_is_refused(file):
    """Except between two members, where nothing tells that more was there."""
    first, second = COMPRESS[file.suffix](b"one\n" * 50), COMPRESS[file.suffix](b"two\n" * 50)
    whole = first + second
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        if length == len(first):
            assert read_bytes(file, 1000) == b"one\n" * 50
        else:
            refused(read_bytes, file, 1000, match="ends early.*Received: ")


def test_a_long_file_that_is_cut_says_how_far_it_is_good(file):
    whole = COMPRESS[file.suffix](TEXT)
    for share in (0.1, 0.5, 0.9, 0.99999):
        file.write_bytes(whole[: int(share * len(whole))])
        produced = io.BytesIO()
        with open_file(file) as stream, pytest.raises(InputError, match="ends early") as error:
            while block := stream.read1(1000):
                produced.write(block)
        assert f"{produced.tell():,} bytes could be" in str(error.value)
        assert TEXT.startswith(produced.getvalue())


def test_a_changed_byte_is_noticed(file):
    """All four have checksums; some bytes of gzip's and xz's headers have no meaning."""
    whole = COMPRESS[file.suffix](TEXT)
    numbers = random.Random(1)
    for _ in range(40):
        place = numbers.randrange(len(whole))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            assert read_bytes(file, len(TEXT)) == TEXT
        except InputError:
            pass


@pytest.mark.parametrize("behind", [b"x", b"garbage behind the end", b"\1" * 100_000], ids=len)
def test_garbage_behind_is_refused(file, behind):
    """`bz2.decompress` and `lzma.decompress` pass over it."""
    file.write_bytes(COMPRESS[file.suffix](TEXT) + behind)
    refused(read_bytes, file, 2**20)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_padding_that_the_format_allows_is_passed_over(tmp_path, suffix):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(COMPRESS[suffix](b"one") + bytes(100_000) + COMPRESS[suffix](b"two"))
    assert read_bytes(file, 100) == b"onetwo"
    file.write_bytes(COMPRESS[suffix](b"one") + bytes(512))
    assert read_bytes(file, 100) == b"one"


def test_frames_without_content_are_passed_over(tmp_path):
    """Seekable zstd files end in one, pzstd begins each part with one."""
    part = COMPRESS[".zst"](b"one")
    for content in (SKIPPABLE + part + SKIPPABLE + part, part + part + SKIPPABLE):
        (tmp_path / "a.zst").write_bytes(content)
        assert read_bytes(tmp_path / "a.zst", 100) == b"oneone"
    (tmp_path / "a.zst").write_bytes(part + SKIPPABLE[:-1])
    refused(read_bytes, tmp_path / "a.zst", 100, match="ends early")


def test_a_bomb_stops_at_the_limit(file):
    """A gigabyte of zeros, as forty members of 25 MiB; it is not held in memory."""
    file.write_bytes(COMPRESS[file.suffix](bytes(25 * 2**20)) * 40)
    assert file.stat().st_size < 2e6
    tracemalloc.start()
    try:
        refused(read_bytes, file, 2**20, match="more than the 1,048,576 bytes")
        with open_file(file) as stream:
            assert stream.read(1000) == bytes(1000)
        assert tracemalloc.get_traced_memory()[1] < 5e7
    finally:
        tracemalloc.stop()


def test_an_empty_file_is_not_compressed_data(file):
    file.write_bytes(b"")
    refused(read_bytes, file, 100, match="ends early: 0 bytes")


def test_what_is_no_regular_file_is_refused(tmp_path):
    make_fifo(tmp_path / "fifo.gz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    assert "not a special file" in refused(read_bytes, tmp_path / "fifo.gz", 100)
    assert "not a special file" in refused(regular_file, "/dev/zero")
    assert "not a folder" in refused(read_bytes, tmp_path, 100)
    refused(regular_file, tmp_path / "loop")
    refused(regular_file, f"{tmp_path}/a\0b")
    refused(regular_file, tmp_path / ("x" * 5000))
    for name in ("gone", "nothing", "nothing/below"):
        with pytest.raises(MissingInputError):
            regular_file(tmp_path / name)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link", 1) == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a\0b",
        "out",
        "out/x",
        "up",
        None,
        3,
        b"x",
    ],
)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    (tmp_path / "x").write_bytes(b"secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    (folder / "up").symlink_to("../x")
    refused(inside, folder, name)


def test_a_name_that_stays_in_the_folder_is_taken(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "a/b", "link", "link/b", "a/../c", "..x", "new"):
        assert inside(tmp_path, name) == tmp_path / name
    # As well from within, where the folder has no name.
    assert inside(os.path.relpath(tmp_path), "a").resolve() == (tmp_path / "a").resolve()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"{} {}", b"\xff\xfe{}", '{"a": 1}'.encode("utf-16"), b'{"a": "\xe9"}', b"[]",
        b"null", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"{'a': 1}",
    ],
    ids=lambda content: repr(content[:8]),
)  # fmt: skip
def test_what_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    refused(read_json, tmp_path / "a.json")


def test_json_is_read_compressed_or_not_within_its_limit(tmp_path):
    value = {"a": [1, 2.5, None, "\u00e9"], "b": {"c": True}}
    content = json.dumps(value, ensure_ascii=False).encode()
    (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(content))
    assert read_json(tmp_path / "a.json") == read_json(tmp_path / "a.json.gz") == value
    refused(read_json, tmp_path / "a.json", len(content) - 1, match="more than")
    with pytest.raises(MissingInputError):
        read_json(tmp_path / "b.json")


@pytest.mark.parametrize("before", [True, False])
def test_parsing_leaves_the_garbage_collector_as_it_was(before):
    enabled = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        assert parse_json(b"[1]") == [1]
        with pytest.raises(ValueError):
            parse_json(b"[1")
        assert gc.isenabled() is before
    finally:
        (gc.enable if enabled else gc.disable)()


def test_gzip_as_tapes_and_programs_write_it(tmp_path):
    """With a name and a comment in the header, and stored, not compressed."""
    buffer = io.BytesIO()
    with gzip.GzipFile("name", "wb", 0, buffer) as file:
        file.write(TEXT)
    (tmp_path / "a.gz").write_bytes(buffer.getvalue())
    assert read_bytes(tmp_path / "a.gz", len(TEXT)) == TEXT
    # A raw zlib stream is no gzip file.
    (tmp_path / "a.gz").write_bytes(zlib.compress(TEXT))
    refused(read_bytes, tmp_path / "a.gz", len(TEXT), match="damaged after 0 bytes")
