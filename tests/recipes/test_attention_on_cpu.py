"""Attention written for JAX's compiler for CPUs gives what the formula and the layers give."""

import keras
import numpy as np
import pytest

from recipes.common.training.attention import attend, attention_by_products, plain_attention
from recipes.common.training.attention_layers import restore_attention, suit_attention
from recipes.gpt.model import Size, build_language_model
from recipes.gpt.scale import suit_layers, unprepare
from recipes.vision.model import ViT, build_classifier
from recipes.vision.recipe import prepare

ON_JAX = keras.backend.backend() == "jax"
VOCABULARY, CONTEXT = 50, 12


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_it_is_the_formula(causal, dtype, tolerance):
    # Logits up to 40, where an exponential that is not shifted would overflow in half precision.
    arrays = np.random.default_rng(0).standard_normal((3, 2, 7, 3, 4)) * [
        [[[[5]]]],
        [[[[2]]]],
        [[[[1]]]],
    ]
    tensors = [keras.ops.convert_to_tensor(x, dtype) for x in arrays]
    rounded = [keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in tensors]
    found = attention_by_products(*tensors, causal)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    found = keras.ops.convert_to_numpy(keras.ops.cast(found, "float32"))
    np.testing.assert_allclose(found, plain_attention(*rounded, causal=causal), atol=tolerance)
    # The same by what the layers call. On TensorFlow it is Keras' own, which rounds the logits.
    if dtype == "bfloat16" and keras.backend.backend() == "tensorflow":
        return
    others = keras.ops.convert_to_numpy(keras.ops.cast(attend(*tensors, causal), "float32"))
    np.testing.assert_allclose(others, found, atol=tolerance)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_a_language_model_has_the_values_and_gradients_of_its_layers(arch):
    windows = np.random.default_rng(0).integers(0, VOCABULARY, (3, CONTEXT + 1), "int32")
    x, y = windows[:, :-1], windows[:, 1:]
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = build_language_model(arch, Size(2, 16, 2, 24), VOCABULARY, CONTEXT)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
        models.append(model)
    own, suited = models
    suit_layers(suited, arch)
    changed = ["_compute_attention" in vars(x) for x in suited._flatten_layers()]
    assert sum(changed) == (2 if ON_JAX else 0)
    expected = own.predict_on_batch(x)
    np.testing.assert_allclose(suited.predict_on_batch(x), expected, rtol=1e-5, atol=1e-5)
    before = [keras.ops.convert_to_numpy(w).copy() for w in own.trainable_variables]
    for model in models:
        model.train_on_batch(x, y)
    pairs = zip(own.trainable_variables, suited.trainable_variables, strict=True)
    for old, (one, other) in zip(before, pairs, strict=True):
        moved, found = (keras.ops.convert_to_numpy(w) - old for w in (one, other))
        np.testing.assert_allclose(found, moved, rtol=1e-4, atol=1e-6, err_msg=one.path)
    unprepare(suited, arch)
    left = [vars(layer).get("_compute_attention") for layer in suited._flatten_layers()]
    assert not any(type(found).__name__ == "_Attend" for found in left)


def test_a_vision_transformer_gives_the_same_logits():
    shape, image = ViT(layers=2, width=16, heads=2, mlp_ratio=2), (16, 16, 3)
    keras.utils.set_random_seed(0)
    model = build_classifier(shape, 4, image)
    images = np.random.default_rng(0).standard_normal((2, *image)).astype("float32")
    plain = keras.ops.convert_to_numpy(model(images))
    prepare(model, shape, image)
    layers = shape.attention_layers(model)
    assert ["_compute_attention" in vars(x) for x in layers] == 2 * [ON_JAX]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images)), plain, atol=1e-5)
    restore_attention(layers)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images)), plain, atol=1e-5)


def test_a_length_that_is_open_and_dropout_are_left_to_the_layer():
    inputs = keras.Input((None, 8))
    layers = [keras.layers.MultiHeadAttention(2, 4, dropout=rate) for rate in (0.0, 0.5)]
    model = keras.Model(inputs, [layer(inputs, inputs, use_causal_mask=True) for layer in layers])
    x = np.random.default_rng(0).standard_normal((2, 5, 8)).astype("float32")
    expected = model.predict(x, verbose=0)
    suit_attention(layers, causal=True, flash=None)
    assert ["_compute_attention" in vars(layer) for layer in layers] == [ON_JAX, False]
    # TensorFlow's `predict` is traced for any length here.
    model.make_predict_function(force=True)
    for one, other in zip(model.predict(x, verbose=0), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_fused_kernel_that_is_asked_for_is_not_replaced():
    layer = keras.layers.MultiHeadAttention(2, 4)
    suit_attention([layer], causal=True, flash=True)
    assert "_compute_attention" not in vars(layer)
