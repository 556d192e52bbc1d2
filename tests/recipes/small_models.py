"""Small Transformers, and whether a change to one leaves what it computes as it was."""

import keras
import numpy as np

from recipes.gpt.model import Size, build_language_model
from recipes.vision.model import ViT, build_classifier

VOCABULARY, CONTEXT = 50, 12
VIT, IMAGE = ViT(layers=2, width=16, heads=2, mlp_ratio=2), (16, 16, 3)


def language_model(arch: str) -> keras.Model:
    """Of two blocks, with weights that are the same at each call."""
    keras.utils.set_random_seed(0)
    return build_language_model(arch, Size(2, 16, 2, 24), VOCABULARY, CONTEXT)


def compiled(model: keras.Model) -> keras.Model:
    """At rate 1, so that a step moves the weights by their gradients."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    return model


def vision_transformer() -> keras.Model:
    """Of two blocks."""
    keras.utils.set_random_seed(0)
    return build_classifier(VIT, 4, IMAGE)


def logits_of_images(model: keras.Model) -> np.ndarray:
    """Of two images, the same at each call."""
    images = np.random.default_rng(0).standard_normal((2, *IMAGE)).astype("float32")
    return keras.ops.convert_to_numpy(model(images))


def assert_train_alike(own: keras.Model, changed: keras.Model) -> None:
    """Two compiled language models have the same predictions and gradients, to rounding."""
    windows = np.random.default_rng(0).integers(0, VOCABULARY, (3, CONTEXT + 1), "int32")
    x, y = windows[:, :-1], windows[:, 1:]
    expected, found = (model.predict_on_batch(x) for model in (own, changed))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    before = [keras.ops.convert_to_numpy(w).copy() for w in own.trainable_variables]
    for model in (own, changed):
        model.train_on_batch(x, y)
    pairs = zip(own.trainable_variables, changed.trainable_variables, strict=True)
    for old, (one, other) in zip(before, pairs, strict=True):
        moved, found = (keras.ops.convert_to_numpy(w) - old for w in (one, other))
        # A shift of all keys alone has no gradient: rounding is all that there is to compare.
        if "key/bias" not in one.path:
            assert np.abs(moved).max() > 0, one.path
        np.testing.assert_allclose(found, moved, rtol=1e-4, atol=1e-6, err_msg=one.path)
