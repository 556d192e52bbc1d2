"""The readers of images."""

import dataclasses
import gzip
import hashlib
import pickle
import struct
import tarfile

import numpy as np
from PIL import Image

from recipes.vision.data import cifar, folder, imagenet32
from recipes.vision.data.idx import read_idx
from tests.attack.harness import Target

_RNG = np.random.default_rng(0)
_FORM = dataclasses.replace(cifar.FORMS[10], rows=4, test_rows=4)
_CLASSES = [f"class{number}" for number in range(10)]


def _digest(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _same_shape(sound, other) -> bool:
    # These formats have no checksum: another pixel or label cannot be noticed, a missing one can.
    return sound[0] == other[0]


def _write_idx(root, packed):
    content = struct.pack(">BBBB3I", 0, 0, 8, 3, 5, 4, 4) + _RNG.bytes(80)
    path = root / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(content) if packed else content)
    return [path]


def _read_idx(root):
    array = read_idx(next(root.iterdir()), 3)
    # Whoever reads images compares this with the labels and with 28 x 28.
    if array.shape != (5, 4, 4):
        raise ValueError(f"Received: {array.shape}")
    return array.shape, _digest(array)


def _batch(seed):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (4, 3072)).astype(np.uint8), generator.integers(1, 10, 4)


def _write_binary(root):
    paths = [root / _FORM.names_text]
    paths[0].write_text("\n".join(_CLASSES) + "\n")
    for i, name in enumerate(_FORM.binary_training + _FORM.binary_test):
        planes, labels = _batch(i)
        rows = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
        (root / name).write_bytes(rows.tobytes())
        paths.append(root / name)
    return paths


def _write_pickles(root):
    meta, key = _FORM.names
    paths = [root / meta]
    paths[0].write_bytes(pickle.dumps({key.encode(): [name.encode() for name in _CLASSES]}, 2))
    for i, name in enumerate(_FORM.training + _FORM.test):
        planes, labels = _batch(i)
        content = {b"data": planes, b"labels": labels.tolist()}
        (root / name).write_bytes(pickle.dumps(content, i % 6))
        paths.append(root / name)
    return paths


def _write_tar(root):
    inner = root / "inner"
    inner.mkdir()
    paths = _write_pickles(inner)
    with tarfile.open(root / _FORM.archive, "w:gz") as archive:
        for path in paths:
            archive.add(path, f"cifar-10-batches-py/{path.name}")
            path.unlink()
    inner.rmdir()
    return [root / _FORM.archive]


def _read_cifar(root):
    data = cifar._load(_FORM, str(root))
    return _summary(data)


def _summary(data):
    splits = data.training, data.validation
    return (
        [(s.images.shape, len(s.labels)) for s in splits] + [len(data.classes)],
        [(_digest(s.images[np.arange(len(s))]), _digest(s.labels)) for s in splits],
    )


def _write_imagenet(root, packed):
    paths = []
    for i, name in enumerate(imagenet32.TRAINING + imagenet32.VALIDATION):
        planes, labels = _batch(i)
        if packed:
            np.savez(root / f"{name}.npz", data=planes, labels=labels)
        else:
            (root / name).write_bytes(pickle.dumps({"data": planes, "labels": labels.tolist()}))
        paths.append(root / (f"{name}.npz" if packed else name))
    return paths


def _read_imagenet(root):
    return _summary(imagenet32.load(str(root)))


def _write_folder(root):
    paths = []
    for name in ("a", "b"):
        (root / name).mkdir()
        for i, suffix in enumerate(("png", "jpg", "webp", "bmp")):
            pixels = _RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            paths.append(root / name / f"{i}.{suffix}")
            Image.fromarray(pixels).save(paths[-1])
        # Of the other kinds that are read: progressive, sixteen bits, a palette, lossless.
        others = [
            ("jpg", Image.fromarray(pixels), {"progressive": True, "exif": _turned()}),
            ("png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {}),
            ("png", Image.fromarray(pixels).quantize(16), {}),
            ("webp", Image.fromarray(pixels), {"lossless": True}),
            ("bmp", Image.fromarray(pixels).convert("1"), {}),
        ]
        for i, (suffix, image, options) in enumerate(others, 4):
            paths.append(root / name / f"{i}.{suffix}")
            image.save(paths[-1], **options)
    return paths


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    return exif


def _read_folder(root):
    return _summary(folder.load(str(root), 8))


TARGETS = [
    Target("idx", lambda root: _write_idx(root, False), _read_idx, _same_shape),
    Target("idx_gz", lambda root: _write_idx(root, True), _read_idx, _same_shape),
    Target("cifar_binary", _write_binary, _read_cifar, _same_shape),
    Target("cifar_pickle", _write_pickles, _read_cifar, _same_shape),
    Target("cifar_tar_gz", _write_tar, _read_cifar, _same_shape),
    Target("imagenet32_npz", lambda r: _write_imagenet(r, True), _read_imagenet, _same_shape),
    Target("imagenet32_pickle", lambda r: _write_imagenet(r, False), _read_imagenet, _same_shape),
    Target("image_folder", _write_folder, _read_folder, _same_shape),
]
