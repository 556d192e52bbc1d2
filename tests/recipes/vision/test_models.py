import sys

import keras
import numpy as np
import pytest

from recipes.vision.model import (
    MODELS,
    ResNet,
    ViT,
    build_classifier,
    entropy_of_smoothed,
    parameter_count,
)
from recipes.vision.stochastic_depth import ResidualDrop


def built_count(name, classes, image_shape, library="keras_hub"):
    """Counted by Keras on the layers of the library, without allocating a weight."""
    with keras.StatelessScope():
        return build_classifier(MODELS[name], classes, image_shape, library).count_params()


# From the architectures, by hand. ResNet50 of He et al. has 25,557,032 weights for 1,000 classes
# and a 7x7 stem; a 3x3 one takes 40 * 3 * 64 off, and the 26,560 normalised channels have two
# moving statistics each. ViT-Tiny of the paper: 48 inputs a patch, 64 positions, MLP of 576.
RESNET50 = 25_557_032 - 40 * 3 * 64 + 2 * 26_560
VIT_TINY = (
    (4 * 4 * 3 * 192 + 192)
    + 64 * 192
    + 12 * (4 * (192 * 192 + 192) + (192 * 576 + 576) + (576 * 192 + 192) + 2 * 2 * 192)
    + 2 * 192
    + (192 * 1000 + 1000)
)


@pytest.mark.parametrize(("name", "count"), [("resnet50", RESNET50), ("vit-tiny", VIT_TINY)])
def test_the_papers_models_have_their_parameters(name, count):
    assert parameter_count(MODELS[name], 1000, (32, 32, 3)) == count
    assert built_count(name, 1000, (32, 32, 3)) == count


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "vit-micro"])
def test_closed_form_counts_what_keras_counts(name):
    shape = MODELS[name]
    assert built_count(name, 10, (8, 8, 1)) == parameter_count(shape, 10, (8, 8, 1))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_keras_cv_has_its_parameters(name):
    pytest.importorskip("keras_cv")
    count = built_count(name, 10, (32, 32, 3), "keras_cv")
    assert count == parameter_count(MODELS[name], 10, (32, 32, 3), "keras_cv")


def test_small_images_keep_their_size_in_the_stem():
    model = build_classifier(MODELS["resnet18"], 10, (32, 32, 3))
    (backbone,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    assert backbone.get_layer("conv1_conv").kernel.shape == (3, 3, 3, 64)
    assert backbone.get_layer("pool1_pool").output.shape == (None, 32, 32, 64)
    assert backbone.output.shape == (None, 4, 4, 512)
    # A ReLU after the addition, as in the first ResNet, so nothing is negative.
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    assert keras.ops.convert_to_numpy(backbone(x)).min() >= 0


@pytest.mark.parametrize("name", ["resnet8", "vit-micro"])
def test_stochastic_depth_drops_branches_of_whole_images_in_training_alone(name):
    keras.utils.set_random_seed(0)
    shape = (8, 8, 1)
    plain = build_classifier(MODELS[name], 10, shape)
    deep = build_classifier(MODELS[name], 10, shape, stochastic_depth=0.5)
    deep.set_weights([w for w in plain.get_weights()] + deep.get_weights()[len(plain.weights) :])
    x = np.random.default_rng(0).normal(size=(64, *shape)).astype("float32")
    np.testing.assert_allclose(
        deep.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=1e-5, atol=1e-5
    )
    trained = keras.ops.convert_to_numpy(deep(x, training=True))
    again = keras.ops.convert_to_numpy(deep(x, training=True))
    assert np.abs(trained - again).max() > 1e-3


def test_a_branch_is_there_or_not_and_its_mean_is_kept():
    keras.utils.set_random_seed(0)
    layer = ResidualDrop(0.25)
    shortcut, branch = np.full((4000, 2, 2, 3), 10.0, "float32"), np.ones((4000, 2, 2, 3), "f4")
    added = keras.ops.convert_to_numpy(layer([shortcut, branch], training=True)) - 10.0
    per_image = added.reshape(4000, -1)
    # One draw for an image, not for a pixel: dropped, or divided by the share that is kept.
    np.testing.assert_array_equal(per_image, np.repeat(per_image[:, :1], 12, axis=1))
    assert set(np.round(per_image[:, 0].astype(float), 4)) == {0.0, 1.3333}
    assert np.mean(per_image[:, 0] == 0) == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(layer([shortcut, branch], training=False)), shortcut + 1
    )


def test_the_vit_is_keras_hubs():
    model = build_classifier(ViT(2, 24, 3), 10, (8, 8, 3))
    vit = model.get_layer("vit")
    rng = np.random.default_rng(0)
    for weight in vit.backbone.trainable_variables:
        weight.assign(weight + 0.1 * rng.normal(size=weight.shape))
    x = rng.normal(size=(3, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(vit(x)), vit.backbone.predict(x, verbose=0), atol=2e-5
    )


@pytest.mark.parametrize("name", ["resnet8", "vit-micro"])
def test_saved_and_loaded(name, tmp_path):
    model = build_classifier(MODELS[name], 10, (8, 8, 1), stochastic_depth=0.1)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.count_params() == model.count_params()


def test_entropy_is_the_least_cross_entropy():
    q = np.full(7, 0.3 / 7)
    q[2] += 0.7
    assert entropy_of_smoothed(0.3, 7) == pytest.approx(-(q * np.log(q)).sum(), rel=1e-12)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    assert float(loss(q[None], np.log(q)[None])) == pytest.approx(
        entropy_of_smoothed(0.3, 7), rel=1e-5
    )


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(ValueError, match="Received: patch=4"):
        build_classifier(MODELS["vit-tiny"], 10, (30, 30, 1))
    with pytest.raises(ValueError, match=r"no plain vision Transformer.*Received: library="):
        build_classifier(MODELS["vit-tiny"], 10, (32, 32, 3), "keras_cv")
    with pytest.raises(ValueError, match=r"two blocks.*Received: blocks="):
        build_classifier(ResNet((1, 1)), 10, (32, 32, 3), "keras_cv")
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    with pytest.raises(ImportError, match=r'pip install "keras-h0h1\[cv\]".*Received: library='):
        build_classifier(MODELS["resnet18"], 10, (32, 32, 3), "keras_cv")
