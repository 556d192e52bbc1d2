"""Small files that would take the machine down, run a program, or be read as what they are not."""

import io
import pickle
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from recipes.common.command_line.errors import InputError
from recipes.vision.data import folder, imagenet32, images
from recipes.vision.data.idx import read_idx
from recipes.vision.data.pickles import load_pickle, planes_to_images
from tests.backends import only_on
from tests.fifos import make_fifo

pytestmark = only_on("tensorflow", reason="readers do not depend on the backend")


@pytest.fixture(autouse=True)
def little_memory():
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**28


def refused(read, *arguments):
    with pytest.raises(InputError, match="Received: ") as error:
        read(*arguments)
    return str(error.value)


def test_a_memo_index_takes_no_memory():
    assert load_pickle(b"\x80\x02}r\x00\x00\x00\x10.", "x") == {}


def test_a_stand_in_has_no_state_to_set():
    honest = pickle.dumps({"data": np.arange(3, dtype=np.uint8)}, 2)
    state = b"N}X\x0c\x00\x00\x00__defaults__)s\x86b"
    assert "refused" in refused(load_pickle, b"\x80\x02}X\x01\x00\x00\x00ac_codecs\nencode\n"
                                + state + b"s.", "x")  # fmt: skip
    np.testing.assert_array_equal(load_pickle(honest, "x")["data"], [0, 1, 2])


def test_references_to_one_object_are_no_images():
    row = [0] * 3072
    content = load_pickle(pickle.dumps({"data": [row] * 5000}), "x")
    refused(planes_to_images, content["data"], 32, "x")


def test_a_text_encoded_again_and_again_is_refused():
    text = b"X" + struct.pack("<I", 2**16) + b"a" * 2**16 + b"q\x01"
    call = b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R0"
    content = b"\x80\x02" + text + b"0" + call * 10_000 + b"}."
    assert "larger than the file" in refused(load_pickle, content, "x")


@pytest.mark.parametrize("label", [1.9, "12", True, 0.0, False, 2**70])
def test_labels_that_are_no_integers_are_refused(label):
    refused(images.check_labels, [3, label], 20, "x")


def test_an_npz_of_zeros_is_refused_by_its_size(tmp_path):
    path = tmp_path / "batch.npz"
    np.savez_compressed(path, data=np.zeros((20_000, 3072), np.uint8), labels=np.ones(2, int))
    assert "larger than" in refused(imagenet32._read_npz, path)


def test_an_npz_of_more_than_a_batch_is_refused_by_its_size(tmp_path, monkeypatch):
    """However little it is compressed."""
    images = np.random.default_rng(0).integers(0, 256, (4, 3072)).astype(np.uint8)
    path = tmp_path / "batch.npz"
    np.savez(path, data=images, labels=np.ones(4, int))
    np.testing.assert_array_equal(imagenet32._read_npz(path)["data"], images)
    monkeypatch.setattr(imagenet32, "_BATCH", 3 * 3072)
    assert "larger than" in refused(imagenet32._read_npz, path)


@pytest.mark.parametrize("header", [b"{'descr': (((", b"{'descr': '|u1', 'shape': (2,", b"\x00"])
def test_a_header_that_numpy_cannot_parse_is_refused(tmp_path, header):
    import zipfile

    path = tmp_path / "batch.npz"
    with zipfile.ZipFile(path, "w") as archive:
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        archive.writestr("data.npy", head)
    # By the reader of headers, which checkpoints and token files have too.
    assert "no sound .npy header" in refused(imagenet32._read_npz, path)


def test_an_idx_header_beyond_the_family_is_refused(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 28, 28))
    assert "at most" in refused(read_idx, path, 3)


def test_postscript_named_png_starts_nothing(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: started.append(a))
    path = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    assert "cannot be decoded" in refused(folder.decode, path, 8)
    # The reader makes one error of all that a decoder raises, so raising would not be seen.
    assert not started


def test_sixteen_bits_keep_their_greys(tmp_path):
    levels = np.linspace(0, 60_000, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(levels).save(tmp_path / "x.png")
    read = folder.decode(tmp_path / "x.png", 64)
    np.testing.assert_allclose(read[..., 0], levels / 257, atol=0.51)


def test_a_large_flat_image_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "x.png")
    refused(folder.decode, tmp_path / "x.png", 8)
    Image.new("RGB", (4000, 4000)).save(tmp_path / "x.webp", lossless=True)
    refused(folder.decode, tmp_path / "x.webp", 8)


def test_sixteen_bits_of_a_folder_keep_their_mean(tmp_path):
    """Written without Pillow; clipped to 255 it was white throughout."""
    levels = np.random.default_rng(0).normal(117 * 257, 3000, (32, 32)).clip(0, 65535)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 32, 32, 16, 0, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(name + data))
        content += struct.pack(">I", len(data)) + name + data + crc
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.png").write_bytes(content)
    images = folder.load(str(tmp_path), 32).training.images
    np.testing.assert_allclose(images[0, ..., 0], levels / 257, atol=1.0)
    assert abs(images.mean() - levels.mean() / 257) < 0.6 and abs(images.mean() - 117) < 2


def test_floating_point_pixels_are_refused():
    assert "floating-point" in refused(folder._square, Image.new("F", (8, 8), 0.5), 8, "x.png")


@pytest.mark.parametrize("large", ["RGBA", "I;16", "1"])
def test_the_largest_images_are_decoded_one_at_a_time(tmp_path, large):
    """Four images of 2^25 pixels in a few kilobytes each, padded: below 1 GB in all."""
    image = Image.new(large, (2**13, 2**12))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    padded = buffer.getvalue() + bytes(folder.PIXELS // folder.DENSITY)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(2):
            (tmp_path / label / f"{number}.png").write_bytes(padded)
    del image, buffer
    code = f"""
import resource
from recipes.vision.data import folder
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder.load({str(tmp_path)!r}, 32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) * 1024 < 4.5e8


def test_threads_share_a_budget_of_pixels():
    budget, most, running, lock = folder.PixelBudget(10), [], [], threading.Lock()

    def work(pixels):
        with budget.of(pixels):
            with lock:
                running.append(pixels)
                most.append(sum(running))
            time.sleep(0.001)
            with lock:
                running.remove(pixels)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, [1, 2, 10, 5, 5, 3, 9, 1, 1] * 10))
    assert max(most) == 10 and budget.used == 0
    with pytest.raises(RuntimeError), budget.of(10):
        raise RuntimeError
    assert budget.used == 0


def test_small_files_that_become_much_are_not_kept(tmp_path, monkeypatch):
    """Images of a few bytes, as large as the option asks for, are not all in memory at once."""
    monkeypatch.setattr(folder, "SMALL", 2**24)
    Image.new("L", (1, 1)).save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(12):
            (tmp_path / label / f"{number}.png").write_bytes(content)
    tracemalloc.reset_peak()
    data = folder.load(str(tmp_path), 1024)
    assert tracemalloc.get_traced_memory()[1] < 6e7  # the images are 7.5e7 bytes
    assert isinstance(data.training.images, folder.Decoded)
    assert data.training.images[np.arange(2)].shape == (2, 1024, 1024, 3)
    assert isinstance(folder.load(str(tmp_path), 32).training.images, np.ndarray)


def test_a_fifo_is_no_image(tmp_path):
    make_fifo(tmp_path / "x.png")
    assert "special file" in refused(folder.decode, tmp_path / "x.png", 8)
