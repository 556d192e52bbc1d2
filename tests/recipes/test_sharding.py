"""Weights and optimizer state cut over replicas: the same training, a share of the memory."""

import keras
import numpy as np
import pytest

from benchmarks import sharding
from recipes.common.distribution.distribute import distribute
from recipes.compilers.targets import Target
from recipes.gpt import model as models
from recipes.gpt.layout import SHARDED

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="keras.distribution is implemented on JAX"
)
VOCABULARY, CONTEXT = 50, 8


def trained(arch):
    """Losses of four micro-batches, two updates, and the share of all numbers on one device."""
    keras.utils.set_random_seed(0)
    model = models.build_language_model(arch, models.Size(1, 16, 2, 24), VOCABULARY, CONTEXT)
    optimizer = keras.optimizers.AdamW(
        1e-2, global_clipnorm=1.0, gradient_accumulation_steps=2, weight_decay=0.1
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    windows = np.random.default_rng(0).integers(0, VOCABULARY, (6, 4, CONTEXT + 1), "int32")
    losses = [model.train_on_batch(w[:, :-1], w[:, 1:]) for w in windows]
    values = [v.value for v in (*model.variables, *optimizer.variables)]
    here = sum(int(np.prod(v.sharding.shard_shape(v.shape))) for v in values)
    return losses, here / sum(v.size for v in values)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_two_replicas_train_as_one_device_on_half_of_the_memory(arch):
    expected, whole = trained(arch)
    with distribute("model", model_shards=1, layout=SHARDED) as devices:
        assert (devices.replicas, devices.model_shards) == (2, 1)
        found, share = trained(arch)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert expected[-1] != pytest.approx(expected[0], rel=1e-4)
    # The norms' scales and the biases stay whole: a large part of so small a model.
    assert whole == 1 and share < {"gpt2": 0.6, "llama": 0.51}[arch]


def test_the_least_that_has_to_be_sent():
    # Of ten numbers over five devices: a sum is nine messages of a fifth each way, less one.
    assert sharding.least_sent("data", 10, 5, width=1) == 2 * 4 * 2
    assert sharding.least_sent("sharded", 10, 5, width=1) == 3 * 4 * 2


@pytest.mark.parametrize("target", ["tpu-v5e:2x2", "h100:4"])
def test_the_compilers_cut_the_state(target, monkeypatch):
    target = Target.parse(target)
    missing = target.missing()
    if missing:
        pytest.skip(missing)
    # A quarter of the width is the 128 to which a TPU pads the last axis.
    monkeypatch.setitem(models.SIZES, "demo", models.Size(1, 512, 4, 512))
    whole, cut = (sharding.measure("demo", target, method) for method in sharding.METHODS)
    assert whole["error"] is None and cut["error"] is None
    assert cut["state_memory"] == pytest.approx(whole["state_memory"] / 4, rel=0.05)
    assert {message["axis"] for message in cut["collectives"]} == {"batch"}
    assert whole["sent_over_least"] > 0.99 and cut["sent_over_least"] > 0.99
