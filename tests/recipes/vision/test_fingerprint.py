"""The fingerprint that a resumed run compares its images by."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from recipes.vision.data import ImageData, Split
from recipes.vision.data.fingerprint import fingerprint
from recipes.vision.data.folder import Decoded
from recipes.vision.data.imagenet32 import Chunks
from tests.backends import only_on

pytestmark = only_on("jax", reason="data does not depend on the backend")


def data_of(images, labels=None):
    labels = np.arange(len(images)) % 7 if labels is None else labels
    held_out = Split(np.zeros((3, *images.shape[1:]), np.uint8), np.arange(3))
    mean = np.zeros(images.shape[-1], np.float32)
    return ImageData(Split(images, labels), held_out, ("a",) * 7, "noise", mean, mean + 1)


@pytest.fixture(scope="module")
def images():
    # More than were hashed once, and a number that no block divides.
    return np.random.default_rng(0).integers(0, 256, (10_001, 8, 8, 3)).astype(np.uint8)


@pytest.mark.parametrize("index", [0, 1, 5_000, 9_999, 10_000])
def test_any_changed_pixel_is_noticed(images, index):
    before = fingerprint(data_of(images))
    assert fingerprint(data_of(images.copy())) == before
    changed = images.copy()
    changed[index, 3, 4, 1] ^= 1
    assert fingerprint(data_of(changed)) != before
    # The same images in several parts are the same data.
    assert fingerprint(data_of(Chunks([images[:1234], images[1234:]]))) == before
    assert fingerprint(data_of(Chunks([changed[:1234], changed[1234:]]))) != before


def test_order_labels_and_held_out_images_are_part_of_it(images):
    data = data_of(images)
    others = [
        data_of(images[::-1]),
        data_of(images[:-1]),
        data_of(images, np.roll(data.training.labels, 1)),
        dataclasses.replace(data, validation=Split(images[:3], np.arange(3))),
    ]
    assert len({fingerprint(each) for each in [data, *others]}) == 5


def test_of_very_many_images_blocks_with_both_ends(images, monkeypatch):
    monkeypatch.setattr("recipes.vision.data.fingerprint._WHOLE", 2**18)
    monkeypatch.setattr("recipes.vision.data.fingerprint._BLOCK", 2**14)
    read = []

    class Watched:
        shape = images.shape

        def __len__(self):
            return len(images)

        def __getitem__(self, indices):
            read.extend(indices)
            return images[indices]

    fingerprint(data_of(Watched()))
    assert {0, len(images) - 1} <= set(read)
    assert 2**17 < len(read) * 8 * 8 * 3 <= 2**18


def test_files_that_are_decoded_when_needed(tmp_path, images, monkeypatch):
    paths = []
    for index in range(20):
        paths.append(tmp_path / f"{index % 7}" / f"{index:02}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(images[index]).save(paths[-1])
    before = fingerprint(data_of(Decoded(paths, 8)))
    # A folder that was moved holds the same data.
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    paths = [moved / path.relative_to(tmp_path) for path in paths]
    assert fingerprint(data_of(Decoded(paths, 8))) == before
    content = bytearray(paths[7].read_bytes())
    content[-20] ^= 1
    paths[7].write_bytes(content)
    assert fingerprint(data_of(Decoded(paths, 8))) != before
    # Where only some are read, the sizes of all are compared.
    monkeypatch.setattr("recipes.vision.data.fingerprint._PIECES", 2)
    before = fingerprint(data_of(Decoded(paths, 8)))
    with paths[7].open("ab") as file:
        file.write(b"\0")
    assert fingerprint(data_of(Decoded(paths, 8))) != before
