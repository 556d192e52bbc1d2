"""Attention written for JAX's compiler for CPUs gives what the formula and the layers give."""

import keras
import numpy as np
import pytest

from recipes.common.training.attention import attend, attention_by_products, plain_attention
from recipes.common.training.attention_layers import _Attend, suit_attention
from recipes.gpt.scale import suit_layers, unprepare
from recipes.vision.recipe import prepare
from tests.recipes.small_models import (
    IMAGE,
    VIT,
    assert_train_alike,
    compiled,
    language_model,
    logits_of_images,
    vision_transformer,
)

ON_JAX = keras.backend.backend() == "jax"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_it_is_the_formula(causal, dtype, tolerance):
    # Logits up to 40: rounded to half precision, they would be wrong by 0.1.
    arrays = np.random.default_rng(0).standard_normal((3, 2, 7, 3, 4))
    arrays *= np.reshape([5, 2, 1], (3, 1, 1, 1, 1))
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
    own, suited = (compiled(language_model(arch)) for _ in range(2))
    suit_layers(suited, arch)
    changed = ["_compute_attention" in vars(layer) for layer in suited._flatten_layers()]
    assert sum(changed) == (2 if ON_JAX else 0)
    assert_train_alike(own, suited)
    unprepare(suited, arch)
    left = [vars(layer).get("_compute_attention") for layer in suited._flatten_layers()]
    assert not any(isinstance(found, _Attend) for found in left)


def test_a_vision_transformer_gives_the_same_logits():
    model = vision_transformer()
    plain = logits_of_images(model)
    prepare(model, VIT, IMAGE)
    layers = VIT.attention_layers(model)
    assert ["_compute_attention" in vars(layer) for layer in layers] == VIT.layers * [ON_JAX]
    np.testing.assert_allclose(logits_of_images(model), plain, atol=1e-5)


def test_dropout_is_left_to_the_layer_and_any_length_is_computed():
    inputs = keras.Input((None, 8))
    layers = [keras.layers.MultiHeadAttention(2, 4, dropout=rate) for rate in (0.0, 0.5)]
    model = keras.Model(inputs, [layer(inputs, inputs, use_causal_mask=True) for layer in layers])
    x = np.random.default_rng(0).standard_normal((2, 5, 8)).astype("float32")
    expected = [model.predict(x[:, :length], verbose=0) for length in (5, 3)]
    suit_attention(layers, causal=True, flash=None)
    assert ["_compute_attention" in vars(layer) for layer in layers] == [ON_JAX, False]
    model.make_predict_function(force=True)
    for length, outputs in zip((5, 3), expected, strict=True):
        found = model.predict(x[:, :length], verbose=0)
        for one, other in zip(found, outputs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_fused_kernel_that_is_asked_for_is_not_replaced():
    layer = keras.layers.MultiHeadAttention(2, 4)
    suit_attention([layer], causal=True, flash=True)
    assert "_compute_attention" not in vars(layer)
