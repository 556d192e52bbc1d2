"""Fused attention computes what plain attention does: JAX's TPU kernel, interpreted on a CPU.

Keras is told that it is on a TPU.
"""

import functools
import types

import keras
import numpy as np
import pytest

from recipes.common.training import attention
from recipes.common.training.attention_layers import restore_attention, suit_attention
from recipes.common.training.splash import splash_attention
from recipes.compilers.step import lower_step
from recipes.gpt import scale
from recipes.gpt.config import GPTConfig
from recipes.gpt.model import Size, build_language_model
from recipes.vision.model import ViT, build_classifier
from recipes.vision.recipe import choose_attention, prepare
from tests.backends import only_on

pytestmark = only_on("jax", reason="a Pallas kernel of JAX")
# 128 patches, the shortest that Keras gives to the kernel.
SHAPE, IMAGES = ViT(layers=1, width=64, heads=1, patch=4), (64, 32, 3)


@pytest.fixture
def tpu(monkeypatch):
    """Shapes of the queries that the kernel was called with."""
    import jax
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    calls, make = [], functools.partial(splash.make_splash_mha, interpret=True)

    def make_splash_mha(mask, **options):
        kernel = make(mask, **options)

        def call(query, *args, **kwargs):
            calls.append(query.shape)
            return kernel(query, *args, **kwargs)

        return call

    monkeypatch.setattr(jax, "devices", lambda *_: [types.SimpleNamespace(platform="tpu")])
    monkeypatch.setattr(splash, "make_splash_mha", make_splash_mha)
    attention._why_not.cache_clear()
    yield calls
    monkeypatch.undo()
    attention._why_not.cache_clear()
    keras.config.enable_flash_attention()


def test_keras_own_call_of_the_kernel_is_causal_and_unscaled(monkeypatch):
    """Once this turns red, a Keras has been mended, and `splash` is perhaps not needed any more."""
    import jax
    from jax.experimental.pallas import tpu as pallas

    monkeypatch.setattr(jax, "devices", lambda *_: [types.SimpleNamespace(platform="tpu")])
    arrays = [x.astype("float32") for x in attention.inputs(128, 1, 64)]
    with pallas.force_tpu_interpret_mode():
        found = np.asarray(keras.ops.dot_product_attention(*arrays, scale=1 / 8))
    wrong = attention.plain_attention(*arrays, causal=True, scale=1.0)
    np.testing.assert_allclose(found, wrong, atol=1e-4)
    assert np.abs(found - attention.plain_attention(*arrays)).max() > 1


# The kernel takes multiples of 128.
@pytest.mark.parametrize(("length", "causal"), [(100, False), (130, True)])
def test_values_and_gradients_of_the_kernel(tpu, length, causal):
    import jax

    query, key, value, weights = np.random.default_rng(0).standard_normal((4, 2, length, 2, 32))

    def weighted(attend):
        return jax.grad(lambda *x: (attend(*x) * weights).sum(), (0, 1, 2))

    arrays = [x.astype("float32") for x in (query, key, value)]
    np.testing.assert_allclose(
        splash_attention(*arrays, causal),
        attention.plain_attention(*arrays, causal=causal),
        atol=1e-5,
    )
    found = weighted(lambda *x: splash_attention(*x, causal))(*arrays)
    expected = weighted(lambda *x: attention.attend(*x, causal, flash=False))(*arrays)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_kernel_in_half_precision_over_two_devices(tpu):
    """Each device has its own examples; with the weights cut as well, its own heads."""
    import jax

    arrays = np.random.default_rng(0).standard_normal((3, 2, 128, 2, 32))
    arrays = [jax.numpy.asarray(x, "bfloat16") for x in arrays]
    expected = attention.plain_attention(*arrays, causal=True)
    devices = np.array(jax.local_devices())
    one_axis = keras.distribution.DataParallel(
        device_mesh=keras.distribution.DeviceMesh((2,), ["batch"], devices)
    )
    mesh = keras.distribution.DeviceMesh((1, 2), ["batch", "model"], devices.reshape(1, 2))
    two_axes = keras.distribution.ModelParallel(layout_map=keras.distribution.LayoutMap(mesh))
    for distribution, heads in ((one_axis, 2), (two_axes, 1)):
        with distribution.scope():
            found = jax.jit(lambda *x: splash_attention(*x, True))(*arrays)
        assert len(found.sharding.device_set) == 2 and found.dtype == "bfloat16"
        assert tpu.pop() == (heads, 128, 32)
        np.testing.assert_allclose(np.asarray(found, "float64"), expected, atol=0.02)


def test_a_wrong_kernel_is_not_trusted(tpu, monkeypatch):
    assert attention.flash_available("float32", 100, 32) is None and tpu
    attention._why_not.cache_clear()
    monkeypatch.setattr(attention, "splash_attention", lambda q, k, v, causal: 2 * v)
    assert "differs from plain attention" in attention.flash_available("float32", 100, 32)
    flash, said = attention.choose("auto", 100, 32, causal=True)
    assert flash is False and said.startswith("Attention: plain; ")
    with pytest.raises(ValueError, match="Received: attention=flash"):
        scale.choose_attention("flash", 100, 32)
    # Nor one that has to compute much more than is asked for.
    assert "padded to 128" in attention.flash_available("float32", 64, 32)


def test_a_vision_transformer_takes_the_kernel(tpu, monkeypatch):
    keras.utils.set_random_seed(0)
    assert choose_attention(SHAPE, IMAGES) is None
    model = prepare(build_classifier(SHAPE, 10, IMAGES), SHAPE, IMAGES)
    images = np.random.default_rng(0).standard_normal((1, *IMAGES)).astype("float32")
    tpu.clear()
    found = np.asarray(model(images))
    assert len(tpu) == SHAPE.layers
    # The same weights where there is no kernel.
    monkeypatch.undo()
    restore_attention(SHAPE.attention_layers(model))
    np.testing.assert_allclose(found, np.asarray(model(images)), atol=1e-5)
    assert len(tpu) == SHAPE.layers


def _language_model(arch, **options):
    config = GPTConfig(arch=arch, context=128, **options)
    # What `prepare` reads of the size is the dimension of a head, 32 as in `Size` below.
    _, said = scale.choose_configured_attention(config)
    assert said is None
    model = build_language_model(arch, Size(2, 64, 2, 64), 50, 128)
    return scale.prepare(model, config)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_language_models_take_the_kernel(arch, tpu, monkeypatch):
    keras.utils.set_random_seed(0)
    model = _language_model(arch)
    tokens = np.random.default_rng(0).integers(0, 50, (1, 128))
    tpu.clear()
    found = np.asarray(model(tokens))
    assert len(tpu) == 2
    backbone = model.get_layer("next_token").backbone
    layer = scale.ARCHITECTURES[arch].attention_layers(backbone)[0]
    # With a cache of keys, as while text is generated: a query of its own length.
    query, key = np.ones((1, 1, 2, 32), "float32"), np.ones((1, 16, 2, 32), "float32")
    layer._compute_attention(query=query, key=key, value=key)
    plain = _language_model(arch, attention="plain")
    plain.set_weights(model.get_weights())
    other = np.asarray(plain(tokens))
    assert len(tpu) == 2
    scale.unprepare(model, arch)
    monkeypatch.undo()
    np.testing.assert_allclose(found, np.asarray(model(tokens)), atol=1e-5)
    np.testing.assert_allclose(found, other, atol=1e-5)


def test_attention_that_is_more_than_causal_is_left_alone(tpu):
    import keras_nlp

    sizes = {"num_layers": 1, "hidden_dim": 64, "intermediate_dim": 64, "vocabulary_size": 50}
    heads = {"num_query_heads": 2, "num_key_value_heads": 2}
    windowed = keras_nlp.models.MistralBackbone(**sizes, **heads, sliding_window=4)
    assert scale.ARCHITECTURES["llama"].attention_layers(windowed) == []
    # Layers that drop weights out have no kernel; asked for, that is an error.
    dropping = keras.layers.MultiHeadAttention(2, 32, dropout=0.1)
    suit_attention([dropping], causal=True, flash=None)
    assert "_compute_attention" not in vars(dropping)
    for layers in ([dropping], []):
        with pytest.raises(ValueError, match="Received: attention=flash"):
            suit_attention(layers, causal=True, flash=True)


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_step_for_tpu_has_the_kernels(replicas, monkeypatch):
    """StableHLO of a step over two devices too, where XLA cannot cut a Pallas kernel itself."""
    import jax

    devices = jax.local_devices()
    monkeypatch.setattr(jax, "devices", lambda *_: [types.SimpleNamespace(platform="tpu")])
    token = attention.COMPILING_ONLY.set(True)
    distribution = keras.distribution.DataParallel(
        device_mesh=keras.distribution.DeviceMesh(
            (replicas,), ["batch"], np.array(devices[:replicas])
        ),
        auto_shard_dataset=False,
    )
    try:
        with distribution.scope():
            model = _language_model("llama")
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            shape = (2, 128), "int32"
            text = lower_step(model, (shape, shape), platforms=("tpu",)).as_text()
    finally:
        attention.COMPILING_ONLY.reset(token)
    # Forward, and backward for the queries, and for keys and values; both layers call the same.
    assert text.count("@tpu_custom_call") == 3
    # `shard_map`: what is inside is computed by each device on its own part.
    assert ("sdy.manual_computation" in text) == (replicas > 1)


@pytest.mark.parametrize("causal", [False, True])
def test_the_formula_is_that_of_keras(causal):
    arrays = attention.inputs(12, 2, 8)
    found = attention.attend(*(x.astype("float32") for x in arrays), causal, flash=False)
    np.testing.assert_allclose(
        np.asarray(found), attention.plain_attention(*arrays, causal=causal), atol=1e-5
    )
