"""The family in `fit`: saving, devices, precision, replicas, the logger."""

import functools

import keras
import numpy as np
import pytest

from keras_h0h1 import LossScaleOptimizer
from keras_h0h1.callbacks import LearningRateLogger
from tests.core import problems
from tests.core.optimizers_family.cases import CASES, DECAY

each_case = pytest.mark.parametrize("name", CASES)


def _make(name, **options):
    case = CASES[name]
    return case.make(**case.arguments, weight_decay=DECAY, **options)


def _fit(optimizer):
    logger = LearningRateLogger()
    return problems.fit(problems.mlp(optimizer), callbacks=[logger]), logger.history


@functools.lru_cache
def _plain(name):
    return _fit(_make(name))


@each_case
def test_the_logger_reads_the_rates(name):
    case = CASES[name]
    _, history = _plain(name)
    x, y = problems.data()
    written, weights = case.reference(**case.arguments, weight_decay=DECAY), problems.weights()
    for step in range(8):
        batch = slice(8 * (step % 4), 8 * (step % 4) + 8)
        loss, gradients = problems.reference_loss_and_gradients(weights, x[batch], y[batch])
        loss, gradients = loss / 8, [g / 8 for g in gradients]
        weights, rate = written.step(weights, gradients, loss)
        assert history["batch_loss"][step] == pytest.approx(loss, rel=2e-3)
        assert history["effective_learning_rate"][step] == pytest.approx(rate, rel=2e-3)
    product = np.multiply(history["learning_rate"], history["learning_rate_factor"])
    np.testing.assert_allclose(history["effective_learning_rate"], product, rtol=1e-5)
    assert min(history["learning_rate_factor"]) >= 0.0


@each_case
def test_save_load_continue(name, tmp_path):
    # 4 batches an epoch and windows of 3: the save falls into the midst of a window.
    model = problems.mlp(_make(name, gradient_accumulation_steps=3))
    problems.fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is CASES[name].make
    for ours, theirs in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs)
        )
    expected = problems.fit(model, epochs=2)
    assert problems.largest_difference(problems.fit(loaded, epochs=2), expected) == 0.0


@each_case
def test_jax_data_parallel(name, backend):
    if backend != "jax":
        pytest.skip("keras.distribution is implemented on JAX")
    expected, expected_history = _plain(name)
    devices = keras.distribution.list_devices()[:2]
    assert len(devices) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    try:
        weights, history = _fit(_make(name))
    finally:
        keras.distribution.set_distribution(None)
    for field in ("batch_loss", "effective_learning_rate"):
        np.testing.assert_allclose(history[field], expected_history[field], rtol=1e-3)
    assert problems.largest_difference(weights, expected) < 1e-3


@each_case
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, policy):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    optimizer = _make(name)
    if policy == "mixed_float16":
        optimizer = LossScaleOptimizer(optimizer)
    try:
        weights, history = _fit(optimizer)
    finally:
        keras.config.set_dtype_policy(previous)
    _, expected = _plain(name)
    # Half precision carries 8 or 11 bits; an unscaled or doubly scaled loss would be far off.
    np.testing.assert_allclose(history["batch_loss"][0], expected["batch_loss"][0], rtol=0.02)
    first = history["effective_learning_rate"][0]
    np.testing.assert_allclose(first, expected["effective_learning_rate"][0], rtol=0.1)
    assert first > 0.0
    assert all(w.dtype == np.float32 and np.isfinite(w).all() for w in weights)
    assert problems.largest_difference(weights, problems.weights()) > 1e-3


@each_case
def test_replicas_are_refused(name, mirrored):
    with mirrored.scope():
        model = problems.mlp(_make(name))
    with pytest.raises(Exception, match=r"(?s)does not run under `tf.distribute`.*replicas=2"):
        problems.fit(model, epochs=1)
