"""Products on two axes give what the layers themselves give."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from recipes.common.training import products
from recipes.common.training.products import (
    contracted_axes,
    on_all_axes,
    on_two_axes,
    suit_compiler,
)
from recipes.compilers.deferred import deferred
from recipes.compilers.step import lower_step
from recipes.gpt.scale import rematerialise, suit_layers
from tests.recipes.small_models import (
    CONTEXT,
    VIT,
    assert_train_alike,
    compiled,
    language_model,
    logits_of_images,
    vision_transformer,
)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
@pytest.mark.parametrize("remat", [False, True])
def test_values_and_gradients_are_those_of_the_layers(arch, remat):
    own, changed = (compiled(language_model(arch)) for _ in range(2))
    on_two_axes(changed)
    if remat:
        rematerialise(changed)
    assert_train_alike(own, changed)


@pytest.mark.parametrize(
    "equation, shape, output, bias",
    [
        ("abc,cde->abde", (2, 3, 4), (None, 5, 6), "de"),
        ("abcd,cde->abe", (2, 3, 4, 5), (None, 6), "e"),
        ("bqm,muh->bquh", (2, 3, 4), (None, 5, 6), None),
    ],
)
def test_an_einsum_is_numpys(equation, shape, output, bias):
    layer = keras.layers.EinsumDense(equation, output, bias_axes=bias, activation="relu")
    random = np.random.default_rng(0)
    x = random.standard_normal(shape)
    model = keras.Sequential([keras.Input(shape[1:]), layer])
    weights = [random.standard_normal(w.shape) for w in layer.weights]
    layer.set_weights(weights)
    on_two_axes(model)
    on_two_axes(model)
    expected = np.einsum(equation, x, weights[0]) + (weights[1] if bias else 0.0)
    found = keras.ops.convert_to_numpy(layer(x.astype("float32")))
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-5, atol=1e-5)


def test_products_of_another_form_are_left_alone():
    layer = keras.layers.EinsumDense("abc,dce->abde", (None, 3, 5))
    model = keras.Sequential([keras.Input((2, 4)), layer])
    own = layer.call
    on_two_axes(model)
    assert contracted_axes("abc,dce->abde") == 0 and layer.call == own


def test_nothing_is_left_after_undoing_and_nothing_is_saved():
    model = language_model("gpt2")
    config, own = model.get_config(), [layer.call for layer in model._flatten_layers()]
    on_two_axes(model)
    assert [layer.call for layer in model._flatten_layers()] != own
    assert model.get_config() == config
    on_all_axes(model)
    assert [layer.call for layer in model._flatten_layers()] == own


def test_they_are_for_a_compiler_on_a_cpu(monkeypatch):
    model = language_model("gpt2")
    own = [layer.call for layer in model._flatten_layers()]
    monkeypatch.setattr(products, "compiled_for_cpu", lambda: False)
    suit_compiler(model)
    assert [layer.call for layer in model._flatten_layers()] == own
    monkeypatch.undo()
    compiles = keras.backend.backend() != "torch"
    assert products.compiled_for_cpu() == compiles
    suit_compiler(model)
    assert ([layer.call for layer in model._flatten_layers()] != own) == compiles


def test_an_accelerator_takes_the_layers_as_they_are(monkeypatch):
    if keras.backend.backend() == "jax":
        import jax

        monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform="gpu")])
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found = [SimpleNamespace(device_type=kind) for kind in ("CPU", "GPU")]
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda: found)
    assert not products.compiled_for_cpu()


def test_a_length_that_is_open_is_left_to_the_layer():
    layer = keras.layers.EinsumDense("abc,cde->abde", (None, 5, 6))
    model = keras.Sequential([keras.Input((None, 4)), layer])
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("float32")
    on_two_axes(model)
    expected = np.einsum("abc,cde->abde", x, keras.ops.convert_to_numpy(layer.kernel))
    # TensorFlow's `predict` is traced for any length here.
    for length in (3, 2):
        found = model.predict(x[:, :length], verbose=0)
        np.testing.assert_allclose(found, expected[:, :length], rtol=1e-5, atol=1e-5)


def test_a_vision_transformer_gives_the_same_logits():
    model = vision_transformer()
    plain = logits_of_images(model)
    on_two_axes(model)
    # Of each block query, key, value, output and two of the MLP; and the head.
    changed = [layer for layer in model._flatten_layers() if "call" in vars(layer)]
    assert len(changed) == 6 * VIT.layers + 1
    np.testing.assert_allclose(logits_of_images(model), plain, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="reads what JAX's compiler made")
def test_the_compiler_copies_less():
    def copies(change):
        model = compiled(deferred(lambda: language_model("gpt2")))
        change(model)
        shape = (4, CONTEXT), "int32"
        text = lower_step(model, (shape, shape)).compile().as_text()
        keras.utils.clear_session()
        return text.count(" copy(") + text.count(" transpose(")

    products = copies(on_two_axes)
    assert products < 0.75 * copies(lambda model: None)
    # With attention for this compiler as well.
    assert copies(lambda model: suit_layers(model, "gpt2")) < 0.85 * products
