"""Fused attention is compared with plain attention before it is used: Keras' TPU kernel on a CPU.

Pallas' interpreter runs the kernel; Keras is told that it is on a TPU.
"""

import types

import keras
import numpy as np
import pytest
from rich.console import Console

from recipes.common.training import attention
from recipes.gpt import scale
from recipes.vision.model import ViT, build_classifier
from recipes.vision.recipe import choose_attention
from tests.backends import only_on

pytestmark = only_on("jax", reason="Keras takes the TPU's kernel on JAX only")
# 128 patches, the shortest that the kernel takes.
SHAPE, IMAGES = ViT(layers=1, width=64, heads=1, patch=4), (64, 32, 3)


@pytest.fixture
def tpu(monkeypatch):
    import jax
    from jax.experimental.pallas import tpu as pallas
    from keras.src.backend.jax import nn  # the module that holds the kernel's only use

    calls, kernel = [], nn.wrap_flash_attention

    def wrap_flash_attention(*args, **kwargs):
        calls.append(args[0].shape)
        return kernel(*args, **kwargs)

    monkeypatch.setattr(jax, "devices", lambda *_: [types.SimpleNamespace(platform="tpu")])
    monkeypatch.setattr(nn, "wrap_flash_attention", wrap_flash_attention)
    attention._why_not.cache_clear()
    with pallas.force_tpu_interpret_mode():
        yield calls
    monkeypatch.undo()
    attention._why_not.cache_clear()
    keras.config.enable_flash_attention()


def test_the_kernel_is_causal_and_unscaled_and_that_is_seen(tpu):
    query, key, value, _ = (x.astype("float32") for x in attention.inputs(128, 1, 64))
    found = np.asarray(keras.ops.dot_product_attention(query, key, value, scale=1 / 8))
    assert tpu
    wrong = attention.plain_attention(query, key, value, causal=True, scale=1.0)
    # A Keras that does something else has perhaps been mended: see docs/upstream.
    np.testing.assert_allclose(found, wrong, atol=1e-4)
    assert np.abs(found - attention.plain_attention(query, key, value)).max() > 1
    for causal in (False, True):
        said = attention.flash_available("float32", 128, 64, causal)
        assert "differs from plain attention" in said


def test_a_vision_transformer_is_what_it_is_without_the_kernel(tpu, monkeypatch):
    keras.utils.set_random_seed(0)
    console = Console(record=True, width=200)
    choose_attention(SHAPE, IMAGES, console)
    said = console.export_text()
    assert said.count("\n") == 1 and "Attention: plain" in said
    tpu.clear()
    model = build_classifier(SHAPE, 10, IMAGES)
    images = np.random.default_rng(0).standard_normal((1, *IMAGES)).astype("float32")
    found = np.asarray(model(images))
    assert not tpu
    # The same weights where there is no kernel, and where it is not switched off.
    keras.config.enable_flash_attention()
    unguarded = build_classifier(SHAPE, 10, IMAGES)
    unguarded.set_weights(model.get_weights())
    assert np.abs(np.asarray(unguarded(images)) - found).max() > 1e-3 and tpu
    monkeypatch.undo()
    np.testing.assert_allclose(np.asarray(unguarded(images)), found, atol=1e-5)


def test_language_models_are_guarded_too(tpu, monkeypatch, capsys):
    verdicts = []
    monkeypatch.setattr(attention, "_why_not", lambda *key: verdicts.append(key) or "wrong")
    scale.choose_attention("auto", "gpt2", 256, 32)
    assert verdicts[0][:4] == ("float32", 256, 2, 32)
    assert keras.config.is_flash_attention_enabled() is False
    assert capsys.readouterr().out.count("Attention: plain") == 1
    with pytest.raises(ValueError, match="Received: attention=flash"):
        scale.choose_attention("flash", "gpt2")
    scale.choose_attention("plain", "llama")
    with pytest.raises(ValueError, match="Received: jit=off"):
        scale.choose_attention("auto", "llama", jit=False)


def test_the_kernel_is_not_used_over_several_devices(tpu, monkeypatch):
    mesh = types.SimpleNamespace(devices=np.zeros(4))
    monkeypatch.setattr(
        keras.distribution, "distribution", lambda: types.SimpleNamespace(device_mesh=mesh)
    )
    assert "partitioned" in attention.flash_available("float32", 128, 64)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_formula_is_that_of_keras(causal, masked):
    query, key, value, mask = attention.inputs(12, 2, 8, examples=2)
    mask = mask if masked else None
    options = {"mask": mask, "is_causal": causal, "flash_attention": False}
    found = keras.ops.dot_product_attention(
        *(x.astype("float32") for x in (query, key, value)), **options
    )
    np.testing.assert_allclose(
        np.asarray(found), attention.plain_attention(query, key, value, mask, causal), atol=1e-5
    )
