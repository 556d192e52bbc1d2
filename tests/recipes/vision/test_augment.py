"""Augmentations against what can be read off the images: windows, weights, areas, and PIL."""

import random
import sys

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from recipes.vision.augment import Augmentation, Augmenter, crop_and_flip
from recipes.vision.rand_augment import RandAugment, equalize

SHAPE = (12, 12, 3)
N = 32


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (N, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def rand_augment():
    return RandAugment(1.0, SHAPE)


@pytest.fixture(scope="module")
def mixers():
    return {
        "mixup": Augmenter(Augmentation(mixup=0.4), SHAPE),
        "cutmix": Augmenter(Augmentation(cutmix=1.0), SHAPE),
    }


@pytest.mark.parametrize("flip", [False, True])
def test_each_image_is_a_window_of_its_own(images, flip):
    images = np.concatenate([images] * 10)
    result = crop_and_flip(images, 1, flip, np.random.default_rng(0))
    met = np.zeros((3, 3, 2), int)
    for before, after in zip(images, result, strict=True):
        framed = np.pad(before, ((1, 1), (1, 1), (0, 0)))
        hits = [
            (top, left, mirrored)
            for top in range(3)
            for left in range(3)
            for mirrored in range(2)
            if np.array_equal(
                framed[top : top + 12, left : left + 12][:, :: -1 if mirrored else 1], after
            )
        ]
        assert len(hits) == 1
        met[hits[0]] += 1
    # All shifts and directions, each about equally often: 320 images on 18 (or 9) outcomes.
    used = met if flip else met[..., 0]
    assert used.min() >= 5 and met[..., 1].any() == flip
    if flip:
        assert abs(met[..., 1].sum() - 160) < 40


def test_mixup_weighs_images_and_targets_alike(mixers):
    # Image i has a one in pixel i alone: a mixture shows its weights.
    images = np.zeros((N, *SHAPE), np.float32)
    images.reshape(N, -1)[np.arange(N), np.arange(N)] = 1
    targets = np.eye(N, dtype=np.float32)
    mixed, blended = mixers["mixup"].mixed(images, targets, seed=0, step=0)
    np.testing.assert_allclose(mixed.reshape(N, -1)[:, :N], blended, rtol=1e-6)
    np.testing.assert_allclose(blended.sum(axis=1), 1, rtol=1e-6)
    assert np.all(np.count_nonzero(blended, axis=1) <= 2)
    assert len(np.unique(np.diag(blended).round(5))) > N / 2  # weights of their own
    weights = np.concatenate(
        [np.diag(mixers["mixup"].mixed(images, targets, 0, k)[1]) for k in range(40)]
    )
    # The variance of Beta(a, a), where an image met another: 1 / (4 (2a + 1)).
    weights = weights[weights < 1]
    assert abs(weights.mean() - 0.5) < 0.04
    assert abs(weights.var() - 1 / (4 * 1.8)) < 0.02


def test_cutmix_gives_targets_by_area(mixers):
    images = np.broadcast_to(
        np.arange(N, dtype=np.float32)[:, None, None, None], (N, *SHAPE)
    ).copy()
    targets = np.eye(N, dtype=np.float32)
    mixed, blended = mixers["cutmix"].mixed(images, targets, seed=0, step=0)
    assert np.all(mixed == mixed[..., :1])
    shares = (mixed[..., 0, None] == np.arange(N)).mean(axis=(1, 2))
    # A border falls between pixels: up to a row and a column more or less.
    assert abs(shares - blended).max() <= 25 / 144
    weights = np.concatenate(
        [np.diag(mixers["cutmix"].mixed(images, targets, 0, k)[1]) for k in range(20)]
    )
    # Beta(1, 1) is uniform: mean 1/2, variance 1/12, where an image met another.
    weights = weights[weights < 1]
    assert abs(weights.mean() - 0.5) < 0.05 and abs(weights.var() - 1 / 12) < 0.015
    for image in mixed[..., 0] != np.arange(N)[:, None, None]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        if len(rows):  # a filled rectangle
            assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_with_both_a_batch_gets_one_of_them(images, mixers):
    both = Augmenter(Augmentation(mixup=0.4, cutmix=1.0), SHAPE)
    floats, targets = images.astype(np.float32), np.eye(N, dtype=np.float32)
    which = []
    for step in range(12):
        result = both.mixed(floats, targets, 1, step)[0]
        cut = np.isin(result, floats).all()  # no value that was not there before
        which.append(bool(cut))
    assert 2 <= sum(which) <= 10


def test_equalize_by_hand():
    # Levels 10, 10, 20, 30: F = 2, 3, 4, so 255 (F - 2) / 2.
    image = np.array([[10, 10], [20, 30]], np.uint8)
    flat = np.full((2, 2), 9, np.uint8)
    result = equalize(np.stack([image, flat])[..., None])
    assert result[0, ..., 0].tolist() == [[0, 0], [128, 255]]
    assert np.all(result[1] == 9)


def test_operations_agree_with_pil(images, rand_augment):
    images = images // 2 + 20  # room for contrast
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(image) for image in images]

    def among(name, candidates):
        """For each image the candidate that the operation's result is."""
        found = []
        result = np.rint(rand_augment.operations[name](images, rng)).astype(np.uint8)
        for picture, image in zip(pictures, result, strict=True):
            hits = [c for c, make in candidates.items() if np.array_equal(make(picture), image)]
            assert hits, name
            found.append(hits[0])
        return found

    bits = among("posterize", {b: lambda p, b=b: ImageOps.posterize(p, b) for b in range(4, 8)})
    assert set(bits) == {4, 5, 6, 7}
    levels = among("solarize", {t: lambda p, t=t: ImageOps.solarize(p, t) for t in range(257)})
    assert len(set(levels)) > 8
    contrast = rand_augment.operations["autocontrast"](images, rng)
    for picture, image in zip(pictures, contrast, strict=True):
        # PIL cuts off where this rounds.
        assert abs(np.asarray(ImageOps.autocontrast(picture), float) - image).max() <= 1


def test_a_weak_setting_changes_little(images):
    grey = RandAugment(0.02, (12, 12, 1))
    smooth = np.linspace(60, 160, 144).reshape(1, 12, 12, 1).repeat(N, 0).astype(np.uint8)
    rng = np.random.default_rng(0)
    for name, operation in grey.operations.items():
        if name not in ("equalize", "autocontrast"):  # these have no strength
            change = operation(smooth, rng).astype(float) - smooth
            assert abs(change[:, 2:-2, 2:-2]).mean() < 6, name
    assert "colour" not in grey.operations


def test_operations_are_drawn_for_each_image(images, rand_augment):
    same = images[:1].repeat(N, axis=0)
    result = rand_augment(same, np.random.default_rng(0))
    assert result.dtype == np.uint8 and result.shape == same.shape
    assert len({image.tobytes() for image in result}) > N / 2
    again = rand_augment(same, np.random.default_rng(0))
    np.testing.assert_array_equal(result, again)
    np.testing.assert_array_equal(same, images[:1].repeat(N, axis=0))  # not in place


def test_a_batch_does_not_depend_on_those_before(images, mixers):
    floats, targets = images.astype(np.float32), np.eye(N, dtype=np.float32)
    for mixer in mixers.values():
        first = mixer.mixed(floats, targets, 3, 5)[0]
        mixer.mixed(floats, targets, 3, 6)
        np.testing.assert_array_equal(first, mixer.mixed(floats, targets, 3, 5)[0])
        for other in ((3, 6), (4, 5)):
            assert np.any(first != mixer.mixed(floats, targets, *other)[0])


def test_nothing_is_drawn_from_the_training_s_random_numbers(images):
    before = random.getstate(), str(np.random.get_state()), keras.random.SeedGenerator(5).next()
    keras.utils.set_random_seed(7)
    expected = keras.ops.convert_to_numpy(keras.random.uniform((3,)))
    keras.utils.set_random_seed(7)
    state = random.getstate()
    augmenter = Augmenter(Augmentation(1, True, 0.2, rand_augment=0.5), SHAPE)
    augmenter.mixed(augmenter.images(images, 0, 0).astype("float32"), np.eye(N), 0, 0)
    assert random.getstate() == state
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(keras.random.uniform((3,))), expected)
    random.setstate(before[0])


def test_mixed_precision_does_not_reach_the_data(images, mixers):
    floats, targets = images.astype(np.float32), np.eye(N, dtype=np.float32)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = Augmenter(Augmentation(mixup=0.4), SHAPE).mixed(floats, targets, 0, 0)[0]
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(mixed, mixers["mixup"].mixed(floats, targets, 0, 0)[0])


def test_without_tensorflow_the_message_says_what_to_install(monkeypatch, images):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    # Imported anew: nothing may need it before it is asked for.
    for name in [name for name in sys.modules if name.startswith("recipes.vision.")]:
        monkeypatch.delitem(sys.modules, name)
    from recipes.vision.augment import Augmentation, Augmenter

    for augment in (dict(mixup=0.2), dict(cutmix=1.0), dict(rand_augment=0.5)):
        with pytest.raises(ImportError, match="pip install tensorflow"):
            Augmenter(Augmentation(**augment), SHAPE)
    result = Augmenter(Augmentation(crop=2, flip=True), SHAPE).images(images, 0, 0)
    assert result.shape == images.shape


def test_augmentation_is_checked_and_described():
    for name, value in [("crop", -1), ("crop", 0.5), ("mixup", 1.5), ("cutmix", -0.1),
                        ("rand_augment", float("nan"))]:  # fmt: skip
        with pytest.raises(ValueError, match=f"Received: {name}={value}"):
            Augmentation(**{name: value})
    assert Augmentation().description == "none"
    everything = Augmentation(4, True, 0.2, 1.0, 0.9)
    assert everything.description == "crop 4, flip, mixup 0.2, cutmix 1, randaugment 0.9"
