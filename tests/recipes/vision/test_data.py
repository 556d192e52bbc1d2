"""The readers, on small files that the tests write in the published formats."""

import collections
import dataclasses
import gzip
import os
import pickle
import struct
import tarfile

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from recipes.vision.data import DATASETS, MissingData, fashion_mnist, folder, load_images
from recipes.vision.data import cifar as cifar_reader
from recipes.vision.data.fashion_mnist import FILES
from recipes.vision.data.imagenet32 import Chunks
from recipes.vision.data.images import channel_statistics
from recipes.vision.data.pickles import read_pickle

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_home(monkeypatch, tmp_path):
    """No data of this machine, and no download."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))

    def offline(*args, **kwargs):
        raise Exception("URL fetch failure on https://...: no network in tests")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    # The batches of these tests have four images.
    for number, form in cifar_reader.FORMS.items():
        small = dataclasses.replace(form, rows=4, test_rows=4)
        monkeypatch.setitem(cifar_reader.FORMS, number, small)
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", offline)


def test_digits_are_scikit_learns_split_evenly():
    data = load_images("digits")
    truth = load_digits()
    splits = (data.training, data.validation)
    assert [len(s) for s in splits] == [1437, 360]
    images = np.concatenate([s.images for s in splits])[..., 0]
    labels = np.concatenate([s.labels for s in splits])
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    # The same pairs, in another order: no image is lost or on both sides.
    pairs = collections.Counter((np.rint(i * 255 / 16).tobytes(), y) for i, y in zip(
        truth.images, truth.target, strict=True))  # fmt: skip
    assert pairs == collections.Counter(
        (i.astype(np.float64).tobytes(), y) for i, y in zip(images, labels, strict=True)
    )
    shares = np.bincount(data.validation.labels) / np.bincount(labels)
    assert np.all(abs(shares - 0.2) < 0.006)
    again = load_images("digits")
    np.testing.assert_array_equal(data.validation.images, again.validation.images)
    assert "1,437 images to train on, 360 held out, 8 x 8 grey, 10 classes" in data.source


def test_statistics_are_those_of_numpy_in_double_precision():
    images = RNG.integers(0, 256, (3000, 4, 5, 3)).astype(np.uint8)
    images[..., 1] //= 3
    images[..., 2] = 7
    mean, std = channel_statistics(images)
    pixels = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std[:2], pixels.std(axis=(0, 1, 2))[:2], rtol=1e-6)
    assert std[2] == 1  # a constant channel is not divided by zero
    few, _ = channel_statistics(images, limit=3)
    np.testing.assert_allclose(few, pixels[[0, 1000, 2000]].mean(axis=(0, 1, 2)), rtol=1e-6)


# --- idx files -----------------------------------------------------------------------------------


def write_idx(path, array, packed=True):
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content += array.astype(np.uint8).tobytes()
    path.with_name(path.name + (".gz" if packed else "")).write_bytes(
        gzip.compress(content) if packed else content
    )


@pytest.fixture
def fashion(tmp_path):
    root = tmp_path / "fashion"
    root.mkdir()
    arrays = [
        RNG.integers(0, 256, (20, 28, 28)), np.arange(20) % 10,
        RNG.integers(0, 256, (10, 28, 28)), np.arange(10),
    ]  # fmt: skip
    for i, (name, array) in enumerate(zip(FILES, arrays, strict=True)):
        write_idx(root / name, array, packed=i < 2)
    return root, arrays


def test_fashion_mnist_from_a_folder(fashion):
    root, arrays = fashion
    data = load_images("fashion-mnist", str(root))
    np.testing.assert_array_equal(data.training.images[..., 0], arrays[0])
    np.testing.assert_array_equal(data.training.labels, arrays[1])
    np.testing.assert_array_equal(data.validation.images[..., 0], arrays[2])
    np.testing.assert_array_equal(data.validation.labels, arrays[3])
    assert str(root) in data.source and data.classes[9] == "ankle boot"


def test_fashion_mnist_from_keras_cache(fashion, monkeypatch, tmp_path):
    root, arrays = fashion
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "not there")
    (tmp_path / "home" / "datasets").mkdir(parents=True)
    root.rename(tmp_path / "home" / "datasets" / "fashion-mnist")
    data = load_images("fashion-mnist")
    np.testing.assert_array_equal(data.training.images[..., 0], arrays[0])


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="dataset-fashion-mnist")
def test_debians_fashion_mnist_holds_what_it_should():
    data = load_images("fashion-mnist")
    with gzip.open(fashion_mnist.DEBIAN / "t10k-images-idx3-ubyte.gz") as file:
        file.seek(16)
        truth = np.frombuffer(file.read(), np.uint8).reshape(10000, 28, 28, 1)
    np.testing.assert_array_equal(data.validation.images, truth)
    assert np.all(np.bincount(data.training.labels) == 6000)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def magic(path):
    write_idx(path.with_suffix(""), np.zeros((20, 28 * 28)))


def short(path):
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-1]))


def fewer(path):
    write_idx(path.with_suffix(""), np.zeros((19, 28, 28)))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage, message",
    [(cut, "ends early|damaged"), (magic, "00 00 08 03"), (short, "15,679 bytes"),
     (fewer, "does not fit"), (empty, "ends early")],
)  # fmt: skip
def test_damaged_images_are_named(fashion, damage, message):
    path = fashion[0] / f"{FILES[0]}.gz"
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        load_images("fashion-mnist", str(fashion[0]))
    assert str(path) in str(error.value)


def test_a_label_out_of_range_is_named(fashion):
    write_idx(fashion[0] / FILES[1], np.arange(20) % 11)
    with pytest.raises(ValueError, match=f"{FILES[1]}.*label 10 of image 10"):
        load_images("fashion-mnist", str(fashion[0]))


def test_missing_data_says_where_to_have_it(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "usr")
    with pytest.raises(MissingData) as error:
        load_images("fashion-mnist")
    text = str(error.value)
    for part in ("dataset-fashion-mnist", "no network", str(tmp_path / "usr"), "--data-dir",
                 str(tmp_path / "home"), FILES[0], "data_dir=None"):  # fmt: skip
        assert part in text
    for name, part in [("cifar10", "cifar-10-python.tar.gz"), ("cifar100", "train.bin"),
                       ("imagenet32", "image-net.org"), ("folder", "subfolder")]:  # fmt: skip
        for place in (None, str(tmp_path)):
            with pytest.raises(MissingData, match=part) as error:
                load_images(name, place)
            assert f"Received: data_dir={place}" in str(error.value)


def test_names_and_options_are_checked(tmp_path):
    assert set(DATASETS) == {
        "digits", "fashion-mnist", "cifar10", "cifar100", "imagenet32", "folder"
    }  # fmt: skip
    with pytest.raises(ValueError, match="name=mnist"):
        load_images("mnist")
    with pytest.raises(ValueError, match="image_size=64"):
        load_images("digits", image_size=64)
    with pytest.raises(ValueError, match="data_dir"):
        load_images("digits", str(tmp_path))


# --- pickles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_data_are_read_as_by_pickle(tmp_path, protocol):
    content = {
        b"data": RNG.integers(0, 256, (3, 8)).astype(np.uint8),
        "big-endian": np.arange(4, dtype=">i4"),
        "columns": np.asfortranarray(RNG.normal(size=(2, 3)).astype(np.float32)),
        "scalar": np.float64(1.5),
        "labels": [1, 2, 3],
        "text": "a",
    }
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(content, protocol))
    read = read_pickle(path)
    assert read["labels"] == [1, 2, 3] and read["scalar"] == 1.5
    for key in ("data", "big-endian", "columns"):
        truth = content.get(key, content.get(key.encode()))
        np.testing.assert_array_equal(read[key], truth)
        assert read[key].dtype == truth.dtype


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_does_not_run(tmp_path, protocol):
    victim = tmp_path / "victim"
    path = tmp_path / "batch"
    for attack in (
        Attack(os.mkdir, str(victim)),
        Attack(eval, f"__import__('os').mkdir({str(victim)!r})"),
        Attack(np.save, str(victim), 1),
    ):
        content = {"data": [attack], "labels": []}
        pickled = pickle.dumps(content, protocol)
        path.write_bytes(pickled)
        with pytest.raises(ValueError, match=r"refused: it asks for .* Nothing in it was exec"):
            read_pickle(path)
        assert not list(tmp_path.glob("victim*"))
    pickle.loads(pickle.dumps(Attack(os.mkdir, str(victim)), protocol))
    assert victim.exists()  # the attack would have worked


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"data": np.zeros(100, np.uint8)})[:-50],
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.array([{}, []], object)}),
        pickle.dumps({"data": np.zeros(3, [("x", "u1")])}),
        pickle.dumps({"data": np.zeros(300, np.uint8)}).replace(b"M,\x01", b"M,\x7f"),
    ],
)
def test_damaged_pickles_are_named(tmp_path, content):
    path = tmp_path / "some_batch"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="some_batch is"):
        read_pickle(path)


# --- CIFAR ---------------------------------------------------------------------------------------


def python_2_batch(images, labels, label_key=b"labels"):
    """A batch as Python 2 wrote it: byte strings without a type, NumPy's old module."""
    planes = images.transpose(0, 3, 1, 2).tobytes()
    n = len(images)
    out = b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    out += (
        b"U\x01b\x87R(K\x01K" + bytes([n]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    )
    out += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    out += struct.pack("<i", len(planes)) + planes + b"tb"
    out += b"U" + bytes([len(label_key)]) + label_key
    return out + b"](" + b"".join(b"K" + bytes([y]) for y in labels) + b"eu."


@pytest.fixture(scope="module")
def cifar():
    """Six batches of images and labels, the last of them the test batch."""
    return [
        (RNG.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8), RNG.integers(0, 10, 4))
        for _ in range(6)
    ]


def write_python_2(root, batches):
    for name, (images, labels) in zip(CIFAR_NAMES, batches, strict=True):
        (root / name).write_bytes(python_2_batch(images, labels))
    (root / "batches.meta").write_bytes(pickle.dumps({b"label_names": CIFAR_CLASSES}, 2))


def write_archive(root, batches):
    inner = root / "cifar-10-batches-py"
    inner.mkdir()
    write_python_2(inner, batches)
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(inner, inner.name)
    for path in inner.iterdir():
        path.unlink()
    inner.rmdir()


def write_binary(root, batches):
    for name, (images, labels) in zip(CIFAR_NAMES, batches, strict=True):
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        rows = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
        (root / f"{name}.bin").write_bytes(rows.tobytes())
    (root / "batches.meta.txt").write_text("\n".join(c.decode() for c in CIFAR_CLASSES) + "\n\n")


CIFAR_NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
CIFAR_CLASSES = [b"airplane", b"car", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship",
                 b"truck"]  # fmt: skip


@pytest.mark.parametrize("write", [write_python_2, write_archive, write_binary])
def test_cifar10_in_each_published_form(tmp_path, cifar, write):
    write(tmp_path, cifar)
    data = load_images("cifar10", str(tmp_path))
    np.testing.assert_array_equal(data.training.images, np.concatenate([x for x, _ in cifar[:5]]))
    np.testing.assert_array_equal(data.training.labels, np.concatenate([y for _, y in cifar[:5]]))
    np.testing.assert_array_equal(data.validation.images, cifar[5][0])
    assert data.classes == tuple(c.decode() for c in CIFAR_CLASSES)


def test_cifar100_has_its_fine_labels(tmp_path, cifar):
    inner = tmp_path / "home" / "datasets" / "cifar-100-python-target" / "cifar-100-python"
    inner.mkdir(parents=True)
    for name, (images, labels) in zip(("train", "test"), cifar[:2], strict=True):
        (inner / name).write_bytes(python_2_batch(images, labels + 90, b"fine_labels"))
    data = load_images("cifar100")  # where Keras unpacks it
    np.testing.assert_array_equal(data.training.labels, cifar[0][1] + 90)
    assert len(data.classes) == 100
    other = tmp_path / "binary"
    other.mkdir()
    for name, (images, labels) in zip(("train", "test"), cifar[:2], strict=True):
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        both = np.stack([labels * 0, labels + 90], axis=1).astype(np.uint8)
        (other / f"{name}.bin").write_bytes(np.concatenate([both, planes], axis=1).tobytes())
    binary = load_images("cifar100", str(other))
    np.testing.assert_array_equal(binary.training.labels, data.training.labels)
    np.testing.assert_array_equal(binary.training.images, data.training.images)


def test_damaged_cifar_is_named(tmp_path, cifar):
    write_python_2(tmp_path, cifar)
    path = tmp_path / "data_batch_3"
    images, labels = cifar[0]
    good = {"data": images.reshape(4, -1), "labels": labels.tolist()}
    for bad, message in [
        ({**good, "labels": [0, 1, 2, 10]}, "label 10 of image 3"),
        ({**good, "labels": [0, 1]}, "4 images, 2 labels"),
        ({**good, "labels": [0, [1], 2, 3]}, "is damaged"),
        ({**good, "data": good["data"][:, 1:]}, "rows of 3072 bytes"),
        ({**good, "data": good["data"].astype(np.int32)}, "int32"),
        ({"labels": [1]}, r"keys \['labels'\]"),
    ]:
        path.write_bytes(pickle.dumps(bad, 2))
        with pytest.raises(ValueError, match=message) as error:
            load_images("cifar10", str(tmp_path))
        assert str(path) in str(error.value)


def test_a_damaged_cifar_archive_is_named(tmp_path, cifar):
    write_archive(tmp_path, cifar)
    path = tmp_path / "cifar-10-python.tar.gz"
    cut(path)
    with pytest.raises(ValueError, match=f"ends early.*{path}"):
        load_images("cifar10", str(tmp_path))
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(ValueError, match="it lacks data_batch_1"):
        load_images("cifar10", str(tmp_path))
    path.unlink()
    write_binary(tmp_path, cifar)
    cut(tmp_path / "test_batch.bin")
    with pytest.raises(ValueError, match=r"test_batch\.bin is damaged: records of 3073"):
        load_images("cifar10", str(tmp_path))


# --- ImageNet ------------------------------------------------------------------------------------


def write_imagenet(root, pickled=lambda i: False):
    truth = []
    for i in range(11):
        name = f"train_data_batch_{i + 1}" if i < 10 else "val_data"
        images = RNG.integers(0, 256, (2 + i % 2, 32, 32, 3)).astype(np.uint8)
        labels = RNG.integers(1, 1001, len(images))
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        content = {"data": planes, "labels": labels, "mean": planes.mean(axis=0)}
        if pickled(i):
            content["labels"] = labels.tolist()
            (root / name).write_bytes(pickle.dumps(content))
        else:
            np.savez(root / f"{name}.npz", **content)
        truth.append((images, labels - 1))
    return truth


def test_imagenet_from_npz_and_pickles(tmp_path):
    truth = write_imagenet(tmp_path, pickled=lambda i: i % 3 == 0)
    data = load_images("imagenet32", str(tmp_path))
    images = np.concatenate([x for x, _ in truth[:10]])
    assert data.training.images.shape == images.shape
    chosen = np.array([24, 0, 3, 3, 7, 2])
    np.testing.assert_array_equal(data.training.images[chosen], images[chosen])
    np.testing.assert_array_equal(data.training.labels, np.concatenate([y for _, y in truth[:10]]))
    np.testing.assert_array_equal(data.validation.images[np.arange(2)], truth[10][0])
    assert len(data.classes) == 1000


def test_damaged_imagenet_is_named(tmp_path):
    write_imagenet(tmp_path)
    path = tmp_path / "train_data_batch_4.npz"
    planes = np.zeros((2, 3072), np.uint8)
    for content, message in [
        ({"data": planes, "labels": np.array([0, 5])}, "labels from 1 to 1000.* 0 to 5"),
        ({"data": planes, "labels": np.array([1, 1001])}, "1 to 1001"),
        ({"data": planes, "labels": np.array([1])}, "2 images"),
        ({"data": planes}, "keys"),
        ({"data": planes, "labels": np.array([1, None])}, "allow_pickle"),
    ]:
        np.savez(path, **content)
        with pytest.raises(ValueError, match=message) as error:
            load_images("imagenet32", str(tmp_path))
        assert str(path) in str(error.value)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"train_data_batch_4\.npz is damaged"):
        load_images("imagenet32", str(tmp_path))
    path.unlink()
    with pytest.raises(MissingData, match="not there: train_data_batch_4"):
        load_images("imagenet32", str(tmp_path))


def test_chunks_are_indexed_like_their_concatenation():
    parts = [RNG.integers(0, 256, (n, 2, 2, 1)).astype(np.uint8) for n in (3, 1, 5)]
    whole, chosen = np.concatenate(parts), RNG.integers(0, 9, 50)
    np.testing.assert_array_equal(Chunks(parts)[chosen], whole[chosen])
    assert len(Chunks(parts)) == 9


# --- a folder ------------------------------------------------------------------------------------


def save(path, colour, size=(40, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    for name, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
        for i in range(20):
            save(root / name / f"{i}.png", tuple(c + i for c in colour))
    (root / "red" / "notes.txt").write_text("not an image")
    (root / ".hidden").mkdir()
    save(root / ".hidden" / "x.png", (0, 0, 0))
    return root


def test_a_folder_of_images(pictures):
    data = load_images("folder", str(pictures), image_size=16)
    assert data.classes == ("blue", "red") and data.shape == (16, 16, 3)
    assert [len(data.training), len(data.validation)] == [36, 4]
    assert np.bincount(data.validation.labels).tolist() == [2, 2]
    for split in (data.training, data.validation):
        # The colour says which class it is: labels belong to their images.
        assert np.all((split.images[:, 0, 0, 0] > 100) == (split.labels == 1))
    seen = {s.images[i, 0, 0].tobytes() for s in (data.training, data.validation)
            for i in range(len(s))}  # fmt: skip
    assert len(seen) == 40  # each once
    again = load_images("folder", str(pictures), image_size=16)
    np.testing.assert_array_equal(data.validation.images, again.validation.images)


def test_images_decoded_on_demand_are_the_same(pictures, monkeypatch):
    kept = load_images("folder", str(pictures), image_size=8)
    monkeypatch.setattr(folder, "MEMORY", 0)
    lazy = load_images("folder", str(pictures), image_size=8)
    assert not isinstance(lazy.training.images, np.ndarray)
    chosen = np.array([30, 2, 2])
    np.testing.assert_array_equal(lazy.training.images[chosen], kept.training.images[chosen])
    np.testing.assert_array_equal(lazy.mean, kept.mean)


def test_a_folder_with_parts(tmp_path):
    for part, count in (("train", 3), ("val", 1)):
        for name in ("a", "b"):
            for i in range(count):
                save(tmp_path / part / name / f"{i}.bmp", (count, 0, 0))
    data = load_images("folder", str(tmp_path))
    assert [len(data.training), len(data.validation)] == [6, 2]
    assert np.all(data.training.images[..., 0] == 3) and np.all(data.validation.images[..., 0] == 1)
    save(tmp_path / "val" / "c" / "0.png", (0, 0, 0))
    with pytest.raises(ValueError, match=r"lacks: \['c'\]"):
        load_images("folder", str(tmp_path))


def test_images_are_cropped_turned_and_made_colour(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.all(folder.decode(tmp_path / "wide.png", 10) == 255)
    Image.new("L", (4, 4), 9).save(tmp_path / "grey.png")
    assert np.all(folder.decode(tmp_path / "grey.png", 4) == 9)
    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(halves).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = folder.decode(tmp_path / "turned.jpg", 8)
    assert turned[0].max() < 50 and turned[-1].min() > 200


def test_an_image_that_cannot_be_decoded_is_named(pictures):
    path = pictures / "red" / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=f"{path} cannot be decoded"):
        load_images("folder", str(pictures))
