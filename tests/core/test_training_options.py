"""Ways to compile and to run: none of them changes which loss drives which step."""

import keras
import numpy as np
import pytest

from keras_h0h1 import AdaptiveGD, LossAdaptiveLearningRate, LossAware, LossScaleOptimizer
from keras_h0h1.callbacks import LearningRateLogger, LossAdaptiveWarmup
from tests.core import problems

C = 2.0


def _optimizer(**options):
    schedule = LossAdaptiveLearningRate(0.05, C=C)
    return LossAware(keras.optimizers.AdamW(schedule, **options))


def _run(model, **arguments):
    logger = LearningRateLogger()
    weights = problems.fit(model, callbacks=[logger], **arguments)
    assert min(logger.history["learning_rate_factor"]) < 0.9
    return weights, logger.history


@pytest.fixture(scope="module")
def expected():
    return _run(problems.mlp(_optimizer()))


def test_run_eagerly(expected):
    weights, history = _run(problems.mlp(_optimizer(), run_eagerly=True))
    np.testing.assert_allclose(history["batch_loss"], expected[1]["batch_loss"], rtol=1e-5)
    assert problems.largest_difference(weights, expected[0]) < 1e-5


@pytest.mark.parametrize("jit_compile", [True, False])
def test_jit_compile(expected, jit_compile, backend):
    if backend == "torch" and jit_compile:
        pytest.skip("torch.compile of a Keras train step takes minutes; eager is Keras' default")
    weights, history = _run(problems.mlp(_optimizer(), jit_compile=jit_compile))
    np.testing.assert_allclose(history["batch_loss"], expected[1]["batch_loss"], rtol=1e-5)
    assert problems.largest_difference(weights, expected[0]) < 1e-5


def test_steps_per_execution(expected, backend):
    model = problems.mlp(_optimizer(), steps_per_execution=2)
    if backend == "torch":
        with pytest.raises(ValueError, match="`steps_per_execution` must be 1 with the PyTorch"):
            _run(model)
        return
    weights, history = _run(model)
    assert history["step"] == [2, 4, 6, 8]
    np.testing.assert_allclose(history["batch_loss"], expected[1]["batch_loss"][1::2], rtol=1e-6)
    assert problems.largest_difference(weights, expected[0]) < 1e-6


@pytest.mark.parametrize(
    "options", [{"clipnorm": 0.1}, {"clipvalue": 0.01}, {"global_clipnorm": 0.1}], ids=str
)
def test_clipping_acts_on_the_gradient_not_on_the_rate(options, expected):
    weights, history = _run(problems.mlp(_optimizer(**options)))
    assert history["batch_loss"][0] == expected[1]["batch_loss"][0]
    for loss, rate in zip(history["batch_loss"], history["effective_learning_rate"], strict=True):
        assert rate == pytest.approx(0.05 / max(1.0, loss / C), rel=1e-6)
    assert problems.largest_difference(weights, expected[0]) > 0


def test_ema_is_the_average_of_the_rule_s_own_trajectory():
    plain = _optimizer()
    trajectory = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: trajectory.append(model.get_weights())
    )
    model = problems.mlp(plain)
    problems.fit(model, batch_size=32, epochs=4, callbacks=[keep])
    averaged = problems.mlp(_optimizer(use_ema=True, ema_momentum=0.5))
    final = problems.fit(averaged, batch_size=32, epochs=4)
    mean = trajectory[0]
    for weights in trajectory[1:]:
        mean = [0.5 * m + 0.5 * w for m, w in zip(mean, weights, strict=True)]
    assert problems.largest_difference(final, mean) < 1e-6


@pytest.mark.parametrize("scaled", [False, True])
def test_swap_ema_weights_finds_the_averages(scaled):
    optimizer = _optimizer(use_ema=True, ema_momentum=0.5)
    if scaled:
        optimizer = LossScaleOptimizer(optimizer)
    model = problems.mlp(optimizer)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    weights = problems.fit(model, callbacks=[swap])
    assert np.isfinite(weights[0]).all()


def _run_mixed(policy, optimizer):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return _run(problems.mlp(optimizer))
    finally:
        keras.config.set_dtype_policy(previous)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, expected):
    optimizer = _optimizer()
    if policy == "mixed_float16":
        optimizer = LossScaleOptimizer(optimizer)
    _, history = _run_mixed(policy, optimizer)
    # Half precision carries 8 or 11 bits; an unscaled or doubly scaled loss would be far off.
    np.testing.assert_allclose(history["batch_loss"][0], expected[1]["batch_loss"][0], rtol=0.02)
    for loss, rate in zip(history["batch_loss"], history["effective_learning_rate"], strict=True):
        # Float32 arithmetic on the scalars: no trace of half precision in the rule itself.
        assert rate == pytest.approx(0.05 / max(1.0, loss / C), rel=1e-6)


def test_keras_own_loss_scaling_swallows_the_loss():
    with pytest.raises(Exception, match=r"keras_h0h1\.LossScaleOptimizer"):
        _run_mixed("mixed_float16", _optimizer())


def test_a_skipped_step_does_not_move_the_rate(backend):
    optimizer = LossScaleOptimizer(_optimizer())
    variable = keras.Variable([1.0])
    optimizer.build([variable])

    def step(loss, gradient):
        optimizer.scale_loss(keras.ops.convert_to_tensor(loss))
        gradients = [keras.ops.full((1,), gradient)]
        if backend != "jax":
            optimizer.apply(gradients, [variable])
            return
        # Keras' own loss scaling is stateless on JAX.
        state = [v.value for v in optimizer.variables]
        (value,), state = optimizer.stateless_apply(state, gradients, [variable.value])
        for old, new in zip([variable, *optimizer.variables], [value, *state], strict=True):
            old.assign(new)

    step(8.0, 2.0**15)
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.05 * C / 8.0)
    step(100.0, float("inf"))
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.05 * C / 8.0)
    assert float(optimizer.dynamic_scale) == 2.0**14


def test_adaptive_gd_inside_loss_scaling():
    plain = problems.fit(problems.mlp(AdaptiveGD(1.0, 1.0, rule="sharp")))
    scaled = problems.fit(problems.mlp(LossScaleOptimizer(AdaptiveGD(1.0, 1.0, rule="sharp"))))
    assert problems.largest_difference(plain, scaled) < 1e-6


def test_accumulation_equals_the_large_batch(expected):
    """Same weights as one batch twice as large, the mean of the two micro-batches' losses."""
    sgd = lambda n: LossAware(  # noqa: E731
        keras.optimizers.SGD(LossAdaptiveLearningRate(0.05, C=C), gradient_accumulation_steps=n)
    )
    small, history = _run(problems.mlp(sgd(2)), batch_size=8)
    large, reference = _run(problems.mlp(sgd(None)), batch_size=16)
    np.testing.assert_allclose(history["batch_loss"][1::2], reference["batch_loss"], rtol=1e-5)
    assert problems.largest_difference(small, large) < 1e-5


def test_the_warm_up_callback_is_the_wrapper(expected):
    model = problems.mlp(keras.optimizers.AdamW(0.05))
    weights = problems.fit(model, callbacks=[LossAdaptiveWarmup(C=C)])
    assert problems.largest_difference(weights, expected[0]) == 0.0


def test_the_warm_up_callback_keeps_loss_scaling():
    explicit, _ = _run_mixed("mixed_float16", LossScaleOptimizer(_optimizer()))
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = problems.mlp(keras.optimizers.AdamW(0.05))
        weights = problems.fit(model, callbacks=[LossAdaptiveWarmup(C=C)])
    finally:
        keras.config.set_dtype_policy(previous)
    assert isinstance(model.optimizer, LossScaleOptimizer)
    assert problems.largest_difference(weights, explicit) == 0.0
