"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour images, 32 x 32, in any published form."""

import dataclasses
import tarfile
from pathlib import Path

import keras
import numpy as np

from recipes.common.command_line.errors import InputError, first_line
from recipes.common.files.reading import open_file, read_bytes
from recipes.vision.data.images import DataSet, ImageData, Split, check_labels, image_data
from recipes.vision.data.pickles import load_pickle, planes_to_images, read_pickle
from recipes.vision.data.search import keras_datasets, missing

SIDE = 32
# Unpacked, either archive holds 187 MB; the largest file in one 156 MB.
ARCHIVE_LIMIT = 2**28
TEXT_LIMIT = 2**16


@dataclasses.dataclass(frozen=True)
class _Form:
    """How one of the two is published."""

    title: str
    python: str  # folder of the pickles
    binary: str  # folder of the binary version
    training: tuple[str, ...]
    test: tuple[str, ...]
    binary_training: tuple[str, ...]
    binary_test: tuple[str, ...]
    label: str  # key in the pickles
    label_bytes: int  # before each image of the binary version; the last is the label
    names: tuple[str, str]  # of the pickle with the classes, and the key in it
    names_text: str  # the same in the binary version
    classes: int
    archive: str
    sha256: str  # of the archive, as Keras checks it
    rows: int  # images in each training file
    test_rows: int


FORMS = {
    10: _Form(
        "CIFAR-10",
        "cifar-10-batches-py",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        ("test_batch",),
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        ("test_batch.bin",),
        "labels",
        1,
        ("batches.meta", "label_names"),
        "batches.meta.txt",
        10,
        "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        10_000,
        10_000,
    ),
    100: _Form(
        "CIFAR-100",
        "cifar-100-python",
        "cifar-100-binary",
        ("train",),
        ("test",),
        ("train.bin",),
        ("test.bin",),
        "fine_labels",
        2,
        ("meta", "fine_label_names"),
        "fine_label_names.txt",
        100,
        "cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        50_000,
        10_000,
    ),
}
_ORIGIN = "https://www.cs.toronto.edu/~kriz/"


def load_cifar10(folder: str | None = None) -> ImageData:
    """CIFAR-10 from `folder`, Keras' cache, or a download by Keras."""
    return _load(FORMS[10], folder)


def load_cifar100(folder: str | None = None) -> ImageData:
    """CIFAR-100 with its 100 fine classes, found like CIFAR-10."""
    return _load(FORMS[100], folder)


def _load(form: _Form, folder: str | None) -> ImageData:
    cache = keras_datasets()
    extracted = cache / f"{form.python}-target"
    roots = [Path(folder).expanduser()] if folder else [cache, extracted]
    searched = [path for root in roots for path in (root, root / form.python, root / form.binary)]
    data = _find(form, searched)
    if data is None and not folder:
        data = _download(form, searched)
    if data is None:
        raise _missing(form, searched, folder)
    return data


def _find(form: _Form, folders: list[Path]) -> ImageData | None:
    for folder in folders:
        if all((folder / name).is_file() for name in form.training + form.test):
            return _from_pickles(form, folder)
        if all((folder / name).is_file() for name in form.binary_training + form.binary_test):
            return _from_binary(form, folder)
        if (folder / form.archive).is_file():
            return _from_archive(form, folder / form.archive)
    return None


def _download(form: _Form, searched: list[Path]) -> ImageData | None:
    try:
        # Keras' loader would unpack and unpickle in one go; this is its first half, to the same
        # place.
        folder = keras.utils.get_file(
            f"{form.python}-target", _ORIGIN + form.archive, extract=True, file_hash=form.sha256
        )
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise _missing(form, searched, None, str(error)) from error
    return _find(form, [Path(folder), Path(folder) / form.python])


def _missing(form: _Form, searched: list[Path], folder: str | None, reason: str = ""):
    return missing(
        form.title,
        searched,
        f"{', '.join(form.training + form.test)} (the python version), "
        f"{', '.join(form.binary_training + form.binary_test)} (the binary version), or the "
        f"archive {form.archive}",
        (
            "with a network: run once without --data-dir; Keras downloads it to its cache",
            f"download {_ORIGIN}{form.archive} and give its folder: --data-dir FOLDER",
        ),
        folder,
        reason,
    )


def _assemble(form: _Form, training: list, test: list, classes: list[str], where: Path):
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        classes = []
    classes = classes if len(classes) == form.classes else map(str, range(form.classes))
    splits = [
        Split(np.concatenate([images for images, _ in part]), np.concatenate([y for _, y in part]))
        for part in (training, test)
    ]
    return image_data(*splits, tuple(classes), f"{form.title}, read from {where}")


def _batch(form: _Form, content: dict, name: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    for key in ("data", form.label):
        if key not in content:
            raise InputError(
                f"{where} is damaged: `data` and `{form.label}` are expected. "
                f"Received: keys {sorted(content)}"
            )
    images = planes_to_images(content["data"], SIDE, where)
    labels = check_labels(content[form.label], form.classes, where)
    return _checked(form, images, labels, name, where)


def _checked(form: _Form, images: np.ndarray, labels: np.ndarray, name: str, where: str):
    rows = form.test_rows if name in form.test + form.binary_test else form.rows
    if len(images) != len(labels) or len(images) != rows:
        raise InputError(
            f"{where} is damaged: {rows:,} images and one label for each are expected. "
            f"Received: {len(images):,} images, {len(labels):,} labels"
        )
    return images, labels


def _from_pickles(form: _Form, folder: Path) -> ImageData:
    def read(names):
        return [_batch(form, read_pickle(folder / n), n, str(folder / n)) for n in names]

    meta, key = folder / form.names[0], form.names[1]
    classes = read_pickle(meta).get(key, []) if meta.is_file() else []
    return _assemble(form, read(form.training), read(form.test), classes, folder)


def _from_archive(form: _Form, path: Path) -> ImageData:
    """Read in place: nothing is unpacked to disk."""
    found = {}
    wanted = {*form.training, *form.test, form.names[0]}
    try:
        # As a stream, so that the limit holds for whatever the archive promises.
        with (
            open_file(path, ARCHIVE_LIMIT) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and name in wanted:
                    where = f"{name} in {path}"
                    if name in found or member.size > ARCHIVE_LIMIT:
                        raise InputError(
                            f"{where} is there twice or too large. Received: {member.size:,} bytes"
                        )
                    content = archive.extractfile(member).read()
                    found[name] = load_pickle(content, where), where
                    del content
            while stream.read(2**20):  # the checksum stands at the end
                pass
    except InputError:
        raise
    # tarfile fails in many ways on damaged headers: TarError, ValueError, KeyError and more.
    except Exception as error:
        raise InputError(
            f"{path} is damaged: it cannot be unpacked ({first_line(error)}). Received: {path}"
        ) from None
    lacking = sorted(set(form.training + form.test) - set(found))
    if lacking:
        raise InputError(
            f"{path} is damaged or another archive: it lacks {', '.join(lacking)}. Received: {path}"
        )

    def read(names):
        return [_batch(form, found[name][0], name, found[name][1]) for name in names]

    content, _ = found.get(form.names[0], ({}, ""))
    classes = content.get(form.names[1], [])
    return _assemble(form, read(form.training), read(form.test), classes, path)


def _from_binary(form: _Form, folder: Path) -> ImageData:
    def read(names):
        return [_binary_batch(form, folder / name) for name in names]

    text = folder / form.names_text
    classes = (
        read_bytes(text, TEXT_LIMIT).decode("utf-8", "replace").split() if text.is_file() else []
    )
    return _assemble(form, read(form.binary_training), read(form.binary_test), classes, folder)


def _binary_batch(form: _Form, path: Path) -> tuple[np.ndarray, np.ndarray]:
    record = form.label_bytes + 3 * SIDE * SIDE
    content = np.frombuffer(read_bytes(path, ARCHIVE_LIMIT), np.uint8)
    if len(content) % record or not len(content):
        raise InputError(
            f"{path} is damaged: records of {record} bytes are expected. "
            f"Received: {len(content):,} bytes"
        )
    rows = content.reshape(-1, record)
    labels = check_labels(rows[:, form.label_bytes - 1], form.classes, str(path))
    images = planes_to_images(rows[:, form.label_bytes :], SIDE, str(path))
    return _checked(form, images, labels, path.name, str(path))


CIFAR10 = DataSet(load_cifar10, epochs=200.0)
CIFAR100 = DataSet(load_cifar100, epochs=200.0)
