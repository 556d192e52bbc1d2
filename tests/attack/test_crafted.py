"""Small files that were made to take much: each is refused within a gigabyte and ten seconds."""

import bz2
import functools
import gzip
import io
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from recipes.vision.data import cifar, fashion_mnist, folder
from recipes.vision.data.idx import read_idx
from tests.attack.harness import Target, attempt
from tests.backends import only_on

pytestmark = only_on("tensorflow", reason="readers do not depend on the backend")

ZEROS = 2**26
BATCH = "cifar-10-batches-py/data_batch_1"


def header(name, size, kind=tarfile.REGTYPE, pax=()) -> bytes:
    """The header of a member, whatever follows it."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.pax_headers = size, kind, dict(pax)
    return info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT)


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress}


@functools.cache
def zeros(packed: str) -> bytes:
    return COMPRESS[packed](bytes(ZEROS))


def bomb(start: bytes, gigabytes: int, packed: str) -> bytes:
    """`start`, then zeros, in as many members as it takes."""
    return COMPRESS[packed](start) + zeros(packed) * (gigabytes * 2**30 // ZEROS)


def refusal(read, folder) -> str:
    kind, message = attempt(Target("crafted", lambda _: [], read), folder)
    assert kind == "refused", message
    assert "Received: " in message and "\n" not in message
    # Readers of damaged data catch every error of the libraries, also that of the limit here.
    assert "MemoryError" not in message and "allocate" not in message
    assert len(message) < 1500
    return message


def read_cifar(folder):
    return len(cifar.load_cifar10(str(folder)).training)


@pytest.mark.parametrize("packed", ["gz", "bz2"])
@pytest.mark.parametrize(
    "start",
    [
        header(BATCH, 2**32),
        header(BATCH, 2**28),
        header("other", 2**33),
        header("name", 2**32, tarfile.GNUTYPE_LONGNAME),
        header("pax", 2**32, tarfile.XHDTYPE),
        header("pax", 2**32, tarfile.XGLTYPE),
        b"",
    ],
    ids=["batch", "first_of_many", "other", "long_name", "pax", "global_pax", "zeros"],
)
def test_a_tar_bomb(tmp_path, packed, start):
    content = bomb(start, 4, packed)
    assert len(content) < 10_000_000
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(content)
    refusal(read_cifar, tmp_path)


@pytest.mark.parametrize("size", ["9" * 18, "9" * 400, "-1", "-512", "1e300", "nan", "0x10"])
def test_a_pax_header_with_an_absurd_size(tmp_path, size):
    content = header(BATCH, 0, pax={"size": size}) + bytes(10_240)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(gzip.compress(content))
    refusal(read_cifar, tmp_path)


@pytest.mark.parametrize("key", ["GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.map"])
@pytest.mark.parametrize("value", [str(2**40), "0,1099511627776", "x", ",".join(["0,1"] * 20_000)])
def test_a_sparse_member(tmp_path, key, value):
    """A few bytes that tell of a terabyte of zeros."""
    pax = {key: value, "GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    if key == "GNU.sparse.map":
        pax = {key: value, "GNU.sparse.size": str(2**40)}
    content = header(BATCH, 512, pax=pax) + b"1\n0\n1\n".ljust(512, b"\0") + bytes(10_240)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(gzip.compress(content))
    refusal(read_cifar, tmp_path)


def test_a_member_with_a_name_of_a_megabyte(tmp_path):
    content = header("x", 2**40, pax={"path": "x" * 2**20 + "/data_batch_1"}) + bytes(10_240)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(gzip.compress(content))
    refusal(read_cifar, tmp_path)


def test_an_archive_of_links_and_devices(tmp_path):
    """They are not followed, and are no batches."""
    (tmp_path / "secret").write_bytes(pickle.dumps({b"data": [], b"labels": []}))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for number, kind in enumerate([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE] * 2):
            info = tarfile.TarInfo(f"data_batch_{number}")
            info.type, info.linkname = kind, str(tmp_path / "secret")
            archive.addfile(info)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(buffer.getvalue())
    assert "lacks data_batch_1" in refusal(read_cifar, tmp_path)


@pytest.mark.parametrize(
    "shape",
    [(60_000, 28, 28), (2**32 - 1, 1, 1), (2**17, 32, 32), (2**31, 2**31, 2**31), (1, 0, 0)],
)
def test_an_idx_bomb(tmp_path, shape):
    """What the header promises, or more, follows as zeros."""
    start = struct.pack(">BBBB3I", 0, 0, 8, 3, *shape)
    (tmp_path / "images.gz").write_bytes(bomb(start, 4, "gz"))
    refusal(lambda folder: read_idx(folder / "images.gz", 3).shape, tmp_path)


def test_a_folder_of_idx_bombs(tmp_path):
    for name in fashion_mnist.FILES:
        dimensions = 3 if "idx3" in name else 1
        sizes = struct.pack(f">{dimensions}I", *(60_000, 28, 28)[:dimensions])
        start = bytes([0, 0, 8, dimensions]) + sizes
        (tmp_path / f"{name.removesuffix('.gz')}.gz").write_bytes(bomb(start, 1, "gz"))
    refusal(lambda folder: len(fashion_mnist.load(str(folder)).training), tmp_path)


def test_a_gzip_stream_of_one_member(tmp_path):
    """The size at its end is not believed."""
    block = zlib.compressobj(9, wbits=31)
    content = block.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 4, 28, 28))
    content += b"".join(block.compress(bytes(ZEROS)) for _ in range(4)) + block.flush()
    (tmp_path / "images.gz").write_bytes(content[:-4] + struct.pack("<I", 4 * 28 * 28 + 16))
    refusal(lambda folder: read_idx(folder / "images.gz", 3).shape, tmp_path)


def image_folder(root, content: bytes, count: int, suffix: str) -> None:
    for name in ("a", "b"):
        (root / name).mkdir()
        for number in range(count // 2):
            (root / name / f"{number}{suffix}").write_bytes(content)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def read_images(root):
    return len(folder.load(str(root), 8).training)


def test_many_small_files_of_many_pixels(tmp_path, monkeypatch):
    """No image is too large; all of them together are."""
    image_folder(tmp_path, encoded(Image.new("1", (512, 512)), "PNG"), 60, ".png")
    assert read_images(tmp_path) == 54
    monkeypatch.setattr(folder, "TOTAL", 50 * 2**18)
    message = refusal(read_images, tmp_path)
    assert "more than 13,107,200 pixels" in message and "512 pixels high" in message
    # Of files with more bytes more is expected.
    monkeypatch.setattr(folder, "TOTAL_SIZE", 0)
    assert read_images(tmp_path) == 54


def test_images_that_are_decoded_again_are_counted_once(tmp_path, monkeypatch):
    image_folder(tmp_path, encoded(Image.new("L", (64, 64)), "PNG"), 20, ".png")
    monkeypatch.setattr(folder, "TOTAL", 20 * 2**12)
    monkeypatch.setattr(folder, "MEMORY", 0)
    images = folder.load(str(tmp_path), 8).training.images
    for _ in range(3):
        assert images[np.arange(len(images))].shape == (18, 8, 8, 3)


def test_a_jpeg_of_many_scans(tmp_path):
    """Each takes a few bytes, and a pass over the whole image."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    image_folder(tmp_path, content[:last] + content[last:-2] * 200 + content[-2:], 4, ".jpg")
    assert "scans" in refusal(read_images, tmp_path)


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1])
def test_a_png_with_a_chunk_of_absurd_length(tmp_path, length):
    content = encoded(Image.new("L", (16, 16)), "PNG")
    assert content[37:41] == b"IDAT"
    image_folder(tmp_path, content[:33] + struct.pack(">I", length) + content[37:], 4, ".png")
    # All pixels are there; what matters is that no room is made for what is not.
    kind, found = attempt(Target("crafted", lambda _: [], read_images), tmp_path)
    assert (kind, found) == ("read", 2) or kind == "refused", found
