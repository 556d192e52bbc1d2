"""The probe where one step is not one batch on one device: accumulation and data parallelism."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from keras_h0h1.callbacks import SmoothnessProbe
from tests.curvature.models import host

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, 8)).astype("float32"), RNG.integers(0, 5, 64)
# An odd number of examples: no two devices can share it evenly.
BATCH = (X[:15], Y[:15])


def make(optimizer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(12, activation="gelu"),
            layers.LayerNormalization(),
            layers.Dense(5),
        ]
    )
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def train(model, *callbacks, batch_size=16):
    model.fit(
        X, Y, batch_size=batch_size, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks)
    )
    return [host(v) for v in model.variables]


def agree(make_distributed):
    """The probes' figures are those of one device, and training is what it is without them."""

    def probes():
        return [
            SmoothnessProbe(BATCH, mode, at_steps=[1, 5], max_share=None)
            for mode in ("gradient_difference", "preconditioned")
        ]

    expected, found = probes(), probes()
    train(make(keras.optimizers.Adam(0.01)), *expected)
    weights = train(make_distributed(), *found)
    for one, several in zip(expected, found, strict=True):
        assert several.column("step").tolist() == [1, 5]
        for key in ("loss", "curvature"):
            np.testing.assert_allclose(several.column(key), one.column(key), rtol=2e-3)
    for a, b in zip(weights, train(make_distributed()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_jax_data_parallel(backend):
    if backend != "jax":
        pytest.skip("keras.distribution is implemented on JAX")

    def distributed():
        devices = keras.distribution.list_devices()[:2]
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
        return make(keras.optimizers.Adam(0.01))

    try:
        agree(distributed)
    finally:
        keras.distribution.set_distribution(None)


def test_tensorflow_mirrored(mirrored):
    def distributed():
        with mirrored.scope():
            return make(keras.optimizers.Adam(0.01))

    agree(distributed)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
def test_accumulation(wrapped):
    """Two accumulated batches of 8 make the step of one of 16, wherever the measurement begins."""

    def run(at_steps, batch_size, **options):
        if wrapped:
            # A rule that never bites.
            schedule = LossAdaptiveLearningRate(0.1, C=1e30)
            model = make(LossAware(keras.optimizers.SGD(schedule, **options)))
        else:
            model = make(keras.optimizers.SGD(0.1, **options))
        probe = SmoothnessProbe(BATCH, at_steps=at_steps, max_share=None)
        train(model, probe, batch_size=batch_size)
        return probe

    whole = run([0, 1, 2, 4], 16)
    # Of steps 2 and 3 the weights are the same: those before the second update.
    split = run([0, 3, 4, 8], 8, gradient_accumulation_steps=2)
    assert split.column("step").tolist() == [0, 3, 4, 8]
    for key in ("loss", "curvature"):
        np.testing.assert_allclose(split.column(key), whole.column(key), rtol=2e-3)
    assert split.column("converged").all()
