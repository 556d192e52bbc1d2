"""Several devices give the trajectory of one, and every replica the same weights."""

import keras
import numpy as np
import pytest

from keras_h0h1 import LossAdaptiveLearningRate, LossAware, LossScaleOptimizer
from keras_h0h1.callbacks import LearningRateLogger, LossAdaptiveWarmup
from tests.core import problems


def _optimizer(kind="plain"):
    schedule = LossAdaptiveLearningRate(0.05, C=2.0, smoothing=0.5)
    if kind == "self-tuned":
        schedule = LossAdaptiveLearningRate(0.5, spike_threshold=2.0)
    optimizer = LossAware(keras.optimizers.AdamW(schedule))
    return LossScaleOptimizer(optimizer) if kind == "loss scaling" else optimizer


def _single(kind):
    logger = LearningRateLogger()
    weights = problems.fit(problems.mlp(_optimizer(kind)), epochs=8, callbacks=[logger])
    return weights, logger.history


def _agree(model, expected):
    logger = LearningRateLogger()
    weights = problems.fit(model, epochs=8, callbacks=[logger])
    assert min(logger.history["learning_rate_factor"]) < 0.9
    for field in ("batch_loss", "effective_learning_rate"):
        np.testing.assert_allclose(logger.history[field], expected[1][field], rtol=1e-4)
    assert problems.largest_difference(weights, expected[0]) < 1e-4


@pytest.mark.parametrize("kind", ["plain", "loss scaling", "self-tuned"])
def test_jax_data_parallel(backend, kind):
    if backend != "jax":
        pytest.skip("keras.distribution is implemented on JAX")
    expected = _single(kind)
    devices = keras.distribution.list_devices()[:2]
    assert len(devices) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    try:
        model = problems.mlp(_optimizer(kind))
        _agree(model, expected)
        for variable in model.trainable_variables:
            first, second = (np.asarray(s.data) for s in variable.value.addressable_shards)
            np.testing.assert_array_equal(first, second)
    finally:
        keras.distribution.set_distribution(None)


@pytest.mark.parametrize("kind", ["plain", "loss scaling", "self-tuned"])
def test_tensorflow_mirrored(mirrored, kind):
    expected = _single(kind)
    assert mirrored.num_replicas_in_sync == 2
    with mirrored.scope():
        model = problems.mlp(_optimizer(kind))
    _agree(model, expected)
    for variable in model.trainable_variables + model.optimizer.variables:
        values = mirrored.experimental_local_results(variable.value)
        if len(values) == 2:
            np.testing.assert_array_equal(values[0].numpy(), values[1].numpy())


def test_the_warm_up_callback_under_mirrored_strategy(mirrored):
    def run(build):
        with mirrored.scope():
            model = problems.mlp(build())
        warmup = LossAdaptiveWarmup(C=2.0, smoothing=0.5)
        return problems.fit(model, callbacks=[warmup])

    callback = run(lambda: keras.optimizers.AdamW(0.05))
    assert problems.largest_difference(callback, run(_optimizer)) == 0.0


def test_mirrored_replicas_with_unequal_batches(mirrored):
    """Each replica sees other examples; the rate has to come from all of them."""
    with mirrored.scope():
        model = problems.mlp(_optimizer())
    x, y = problems.data()
    x[:4] *= 50  # the first replica's half of the batch
    logger = LearningRateLogger()
    model.fit(x[:8].astype("float32"), y[:8], batch_size=8, verbose=0, callbacks=[logger])
    loss, _ = problems.reference_loss_and_gradients(problems.weights(), x[:8], y[:8])
    assert logger.history["batch_loss"][0] == pytest.approx(loss / 8, rel=1e-4)


def test_a_rule_with_the_gradient_norm_says_that_it_does_not_run_on_replicas(mirrored):
    from keras_h0h1 import AdaptiveGD

    with mirrored.scope():
        model = problems.mlp(AdaptiveGD(1.0, 1.0, rule="envelope"))
    with pytest.raises(Exception, match=r"(?s)does not run under `tf.distribute`.*replicas=2"):
        problems.fit(model, epochs=1)


def test_accumulation_under_mirrored_strategy(mirrored):
    """Keras itself updates inside a conditional, which `tf.distribute` forbids."""

    def run(optimizer):
        with mirrored.scope():
            model = problems.mlp(optimizer())
        try:
            return problems.fit(model, epochs=1)
        except Exception as error:
            return str(error)

    bare = run(lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2))
    wrapped = run(
        lambda: LossAware(
            keras.optimizers.SGD(
                LossAdaptiveLearningRate(0.05, C=1e30), gradient_accumulation_steps=2
            )
        )
    )
    if isinstance(bare, str):
        assert "merge_call" in bare and "merge_call" in wrapped
    else:
        assert problems.largest_difference(bare, wrapped) == 0.0
