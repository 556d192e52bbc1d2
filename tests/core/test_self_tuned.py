"""`C="auto"`, `f_star="auto"`, the settable `C` and the spike guard, against NumPy in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_h0h1 import LossAdaptiveLearningRate, LossAware, LossScaleOptimizer
from keras_h0h1.callbacks import LearningRateLogger, LossAdaptiveWarmup
from keras_h0h1.schedules import AutoC
from tests.core import problems

SGD = keras.optimizers.SGD
BASE = 0.5
HALF = AutoC(0.5, min_steps=None, patience=100)


def reference(
    losses, fraction=0.6, min_steps=100.0, first=1, tolerance=0.05, patience=300.0, rho=2.0
):
    """The factor after each loss: averages as explicit weighted sums over all losses."""
    losses, factors, release, risen = np.asarray(losses, "float64"), [], 0.0, 0.0
    for k in range(1, len(losses) + 1):
        seen = losses[:k]
        infimum = min(0.0, 2.0 * seen.min())
        C = fraction * (seen[:first].mean() - infimum)
        ages = np.arange(k)[::-1]
        (fast, fast_age), (slow, slow_age) = (
            (np.average(seen, weights=s**ages), np.average(ages, weights=s**ages))
            for s in (0.96, 0.99)
        )
        if k >= 25:
            fall = 100.0 * (slow - fast) / (slow_age - fast_age) / (fast - infimum)
            stalled = min(max(1.0 - fall / tolerance, 0.0), 1.0)
            release = min(1.0, release + (stalled / patience if patience else 0.0))
        gap = max(losses[k - 1] - infimum, 0.0)
        limit = risen + 1.0 / min_steps if min_steps else 1.0
        risen = min(max(1.0 / max(1.0, (gap / C) ** rho), release), limit)
        factors.append(risen)
    return np.array(factors)


def taken(schedule, losses, accumulate=None):
    """The factors that an optimizer takes."""
    optimizer = LossAware(SGD(schedule, gradient_accumulation_steps=accumulate))
    weight, factors = keras.Variable([1.0]), []
    for loss in losses:
        # TensorFlow takes a Python number by way of float32.
        loss = ops.convert_to_tensor(np.asarray(loss, keras.config.floatx()))
        optimizer.apply([ops.zeros((1,))], [weight], loss=loss)
        factors.append(float(optimizer.learning_rate_factor))
    return np.array(factors), optimizer


def falling(steps, floor, seed=0):
    """From 10 to the floor, with noise of 2%."""
    rng = np.random.default_rng(seed)
    mean = floor + (10.0 - floor) * np.exp(-np.arange(steps) / 12.0)
    return mean * (1.0 + 0.02 * rng.normal(size=steps))


@pytest.mark.parametrize("floor", [0.5, 6.0])
@pytest.mark.parametrize(
    "auto, rho",
    [
        (AutoC(), None),
        (AutoC(0.3, min_steps=10, first=4, tolerance=0.2, patience=10), 1.5),
        (AutoC(min_steps=None, patience=None), 2.0),
    ],
)
def test_the_factor_follows_the_reference(auto, rho, floor, floatx, backend):
    losses = falling(80, floor)
    factors, optimizer = taken(LossAdaptiveLearningRate(BASE, C=auto, rho=rho), losses)
    expected = reference(
        losses, auto.fraction, auto.min_steps, auto.first, auto.tolerance, auto.patience, rho or 2
    )
    assert expected[0] < 0.5
    # Keras on PyTorch takes a Python number in float32 whatever floatx says.
    in_float64 = floatx == "float64" and backend != "torch"
    np.testing.assert_allclose(factors, expected, rtol=1e-9 if in_float64 else 1e-4)
    assert float(optimizer.C) == pytest.approx(auto.fraction * losses[: auto.first].mean(), 1e-5)


def test_auto_is_the_default_and_equals_its_class():
    losses = falling(40, 2.0)
    by_default, _ = taken(LossAdaptiveLearningRate(BASE), losses)
    by_name, _ = taken(LossAdaptiveLearningRate(BASE, "auto", rho=2.0, f_star="auto"), losses)
    np.testing.assert_array_equal(by_default, by_name)
    np.testing.assert_array_equal(
        by_default, taken(LossAdaptiveLearningRate(BASE, AutoC()), losses)[0]
    )


def test_a_number_keeps_the_rule_of_the_paper():
    losses = [8.0, 6.0, 4.0, 1.0, -1.0, 12.0] + [12.0] * 150
    factors, _ = taken(LossAdaptiveLearningRate(BASE, C=4.0), losses)
    np.testing.assert_allclose(factors[:6], [0.5, 2 / 3, 1, 1, 1, 1 / 3], rtol=1e-6)
    assert factors[-1] == factors[5]  # no end of the warm-up but that of the loss


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_the_loss_does_not_matter(scale):
    losses = falling(60, 5.5)
    once, _ = taken(LossAdaptiveLearningRate(BASE), losses)
    other, _ = taken(LossAdaptiveLearningRate(BASE), scale * losses)
    np.testing.assert_allclose(other, once, rtol=1e-4)


def test_a_loss_with_a_high_floor_ends_the_warm_up():
    """It never falls to half of what it was, as in fine-tuning."""
    factors, _ = taken(
        LossAdaptiveLearningRate(BASE, HALF, rho=3.0),
        [3.0] * 124,
    )
    np.testing.assert_allclose(factors[:24], 0.125, rtol=1e-6)
    assert factors[123] == pytest.approx(1.0, abs=1e-2)
    assert (np.diff(factors) >= 0).all()


def test_losses_below_zero_lower_the_bound():
    losses = [4.0, 1.0, -1.0, -2.0, 0.0, 4.0]
    factors, _ = taken(LossAdaptiveLearningRate(BASE, HALF, rho=1.0), losses)
    # f* = 0, 0, -2, -4, -4, -4 and C = (4 - f*)/2
    np.testing.assert_allclose(factors, [0.5, 1, 1, 1, 1, 0.5], rtol=1e-6)
    factors, _ = taken(
        LossAdaptiveLearningRate(BASE, HALF, rho=1.0),
        [-1.0, -1.0, 3.0],
    )
    np.testing.assert_allclose(factors, [0.5, 0.5, 0.1], rtol=1e-6)


@pytest.mark.parametrize("f_star", ["auto", 0.0, 2.0])
def test_a_first_loss_at_the_bound_is_passed_over(f_star):
    schedule = LossAdaptiveLearningRate(BASE, HALF, f_star, rho=1.0)
    infimum = 0.0 if f_star == "auto" else f_star
    losses = [infimum, float("nan"), infimum, infimum + 4.0, infimum + 2.0]
    factors, optimizer = taken(schedule, losses)
    np.testing.assert_allclose(factors, [1, 1, 1, 0.5, 1], rtol=1e-6)
    assert float(optimizer.C) == 2.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_losses_that_are_not_finite_are_not_counted(bad):
    losses = list(falling(30, 2.0))
    clean, _ = taken(LossAdaptiveLearningRate(BASE, AutoC(min_steps=8, first=3)), losses)
    mixed, _ = taken(
        LossAdaptiveLearningRate(BASE, AutoC(min_steps=8, first=3)),
        [bad, *losses[:2], bad, *losses[2:]],
    )
    np.testing.assert_array_equal(np.delete(mixed, [0, 3]), clean)


def test_accumulation_counts_windows():
    losses = falling(30, 4.0)
    means = losses.reshape(-1, 3).mean(axis=1)
    factors, _ = taken(LossAdaptiveLearningRate(BASE), losses, accumulate=3)
    expected, _ = taken(LossAdaptiveLearningRate(BASE), means)
    np.testing.assert_allclose(factors[2::3], expected, rtol=1e-5)


def test_in_fit_it_takes_the_rates_of_the_losses_it_saw():
    logger = LearningRateLogger()
    model = problems.mlp(LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(0.5))))
    problems.fit(model, epochs=10, callbacks=[logger])
    losses = np.array(logger.history["batch_loss"])
    np.testing.assert_allclose(logger.history["learning_rate_factor"], reference(losses), rtol=2e-4)
    assert np.ptp(logger.history["learning_rate_factor"]) > 0.1


def _aware(**options):
    schedule = LossAdaptiveLearningRate(0.05, spike_threshold=3.0, **options)
    return LossAware(keras.optimizers.Adam(schedule))


def test_saved_and_resumed_as_if_never_stopped(tmp_path):
    whole = problems.mlp(_aware())
    problems.fit(whole, epochs=12)
    model = problems.mlp(_aware())
    problems.fit(model, epochs=6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.C) == float(model.optimizer.C) > 0
    weights = problems.fit(loaded, epochs=6)
    assert problems.largest_difference(weights, whole.get_weights()) == 0.0
    for ours, theirs in zip(loaded.optimizer.variables, whole.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))


def test_the_configuration_is_complete():
    schedule = LossAdaptiveLearningRate(
        0.1, AutoC(0.4, 50, 3, 0.1, None), "auto", 2.0, 0.5, True, 0.01, 4.0
    )
    again = LossAdaptiveLearningRate.from_config(schedule.get_config())
    assert again.get_config() == schedule.get_config() and again.C == schedule.C
    text = keras.saving.serialize_keras_object(LossAware(SGD(schedule)))
    restored = keras.saving.deserialize_keras_object(text)
    assert restored.rate_states[0].schedule.C == AutoC(0.4, 50, 3, 0.1, None)


def test_C_is_set_in_mid_training_without_a_retrace_and_with_its_moments():
    traces = []
    model = problems.mlp()

    def loss(y, p):
        traces.append(1)
        return keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)

    model.compile(
        LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(0.01, C=1e-3))), loss=loss
    )
    problems.fit(model)
    before = len(traces)
    moments = [ops.convert_to_numpy(v) for v in model.optimizer.inner_optimizer.variables]
    model.optimizer.C = 1e3
    for ours, theirs in zip(model.optimizer.inner_optimizer.variables, moments, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), theirs)
    problems.fit(model, epochs=1)
    assert float(model.optimizer.learning_rate_factor) == 1.0
    # `fit` traces anew on its own where Keras has it so: as often as without the new constant.
    again = len(traces)
    problems.fit(model, epochs=1)
    assert len(traces) - again == again - before
    assert model.optimizer.rate_states[0].schedule.get_config()["C"] == 1e3


def test_a_number_that_is_set_takes_the_place_of_auto():
    _, optimizer = taken(
        LossAdaptiveLearningRate(BASE, HALF, rho=1.0),
        [8.0] * 130,
    )
    assert float(optimizer.C) == 4.0 and float(optimizer.learning_rate_factor) == 1.0
    optimizer.C = 2.0
    optimizer.apply([ops.zeros((1,))], loss=8.0)
    assert float(optimizer.C) == 2.0 and float(optimizer.learning_rate_factor) == 0.25


def test_C_through_loss_scaling():
    optimizer = LossScaleOptimizer(LossAware(SGD(LossAdaptiveLearningRate(BASE, C=2.0))))
    optimizer.C = 3.0
    assert float(optimizer.C) == float(optimizer.inner_optimizer.C) == 3.0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), 1e-46, 1e39, True, "auto"])
def test_C_is_checked_when_it_is_set(value):
    optimizer = LossAware(SGD(LossAdaptiveLearningRate(BASE, C=2.0)))
    with pytest.raises((TypeError, ValueError), match="Received: C="):
        optimizer.C = value
    assert float(optimizer.C) == 2.0


def test_a_schedule_that_is_in_use_says_so():
    schedule = LossAdaptiveLearningRate(BASE, C=2.0)
    schedule.C = 3.0  # Nobody uses it yet.
    first, second = LossAware(SGD(schedule)), LossAware(SGD(schedule))
    assert float(first.C) == float(second.C) == 3.0
    for used in (schedule, first.rate_states[0].schedule):
        with pytest.raises(AttributeError, match=r"(?s)has no effect.*Received: C=100"):
            used.C = 100
    with pytest.raises(AttributeError, match="Received: schedule="):
        from keras_h0h1 import AdaptiveGD

        AdaptiveGD(1.0, 1.0).C = 2.0


def test_the_base_by_the_name_keras_has_for_it():
    by_name = LossAdaptiveLearningRate(learning_rate=0.1)
    assert by_name.get_config() == LossAdaptiveLearningRate(0.1).get_config()
    for arguments in ({}, {"base": 0.1, "learning_rate": 0.1}):
        with pytest.raises(TypeError, match=r"(?s)once.*Received: base="):
            LossAdaptiveLearningRate(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"C": "Auto"}, {"C": None}, {"C": ()}, {"f_star": "low"}, {"f_star": [0.0]},
        {"spike_threshold": 0.0}, {"spike_threshold": "4"}, {"rho": "3"},
    ],
)  # fmt: skip
def test_what_is_not_allowed(arguments):
    name = next(iter(arguments))
    with pytest.raises((TypeError, ValueError), match=f"Received: {name}="):
        LossAdaptiveLearningRate(0.1, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_steps": 0.5},
        {"fraction": 0.0}, {"fraction": 1.5}, {"first": 0}, {"first": 2.0}, {"tolerance": 0.0},
        {"patience": 0.5}, {"patience": float("inf")},
    ],
)  # fmt: skip
def test_what_auto_does_not_allow(arguments):
    name = next(iter(arguments))
    with pytest.raises((TypeError, ValueError), match=f"Received: {name}="):
        AutoC(**arguments)


def test_the_callback_takes_auto_by_default():
    model = problems.mlp(keras.optimizers.Adam(0.05))
    problems.fit(model, epochs=3, callbacks=[LossAdaptiveWarmup()])
    plain = problems.mlp(LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(0.05))))
    assert problems.largest_difference(problems.fit(plain, epochs=3), model.get_weights()) == 0.0
    # A second `fit` meets the settings it left.
    problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup()])


def test_the_callback_goes_on_after_C_was_set():
    model = problems.mlp(keras.optimizers.Adam(0.05))
    for settings in ({"C": 1e-3}, {"C": 1e-3}):
        problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup(**settings)])
        model.optimizer.C = 1e3
    assert float(model.optimizer.C) == 1e3
    with pytest.raises(ValueError, match="driven by the loss already"):
        problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup(C=1e3)])


def test_the_callback_in_a_loop_that_keras_did_not_begin():
    """A `CallbackList` of somebody's own loop: only `on_train_begin` says that training begins."""
    model = problems.mlp(keras.optimizers.Adam(0.05))
    x, y = problems.data()
    callbacks = keras.callbacks.CallbackList([LossAdaptiveWarmup(C=1e-3)], model=model)
    assert not isinstance(model.optimizer, LossAware)
    callbacks.on_train_begin()
    model.train_on_batch(x.astype(keras.config.floatx()), y)
    assert isinstance(model.optimizer, LossAware)
    assert float(model.optimizer.learning_rate_factor) < 0.01


def test_C_is_set_by_a_callback_in_the_midst_of_fit():
    class Sets(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.C = 1e3

    logger = LearningRateLogger()
    model = problems.mlp(LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(0.01, C=1e-3))))
    problems.fit(model, epochs=2, callbacks=[Sets(), logger])
    factors = np.array(logger.history["learning_rate_factor"])
    half = len(factors) // 2
    assert (factors[:half] < 0.01).all() and (factors[half:] == 1.0).all()


def test_a_spike_takes_a_short_step_and_does_not_hide_the_next():
    rng = np.random.default_rng(0)
    losses = 2.0 + 0.1 * rng.normal(size=120)
    losses[[60, 61, 100]] = [8.0, 8.0, 2.2]
    schedule = LossAdaptiveLearningRate(BASE, C=100.0, spike_threshold=4.0)
    factors, _ = taken(schedule, losses)
    # The reference: mean and deviation over the losses as they were counted.
    mean, variance, expected = 0.0, 0.0, []
    for k, loss in enumerate(losses):
        deviation = max(np.sqrt(variance), 0.01 * abs(mean))
        z = (loss - mean) / deviation if k >= 20 else 0.0
        expected.append(1.0 / max(1.0, z / 4.0) ** 2)
        change = min(loss, mean + 4.0 * deviation) - mean if k >= 20 else loss - mean
        weight = max(1.0 / (k + 1), 0.02)
        mean, variance = mean + weight * change, (1 - weight) * (variance + weight * change**2)
    np.testing.assert_allclose(factors, expected, rtol=2e-3)
    assert factors[60] < 0.02 and factors[61] < 0.03
    assert (np.delete(factors, [60, 61]) == 1.0).all()


def test_losses_that_stay_high_are_no_spike_for_long():
    losses = [2.0] * 60 + [20.0] * 80
    factors, _ = taken(LossAdaptiveLearningRate(BASE, C=100.0, spike_threshold=4.0), losses)
    assert factors[60] < 1e-3 and (factors[-20:] == 1.0).all()


def test_the_factor_rises_by_so_much_and_falls_at_once():
    losses = [8.0, 8.0, 1.0, 1.0, 1.0, 16.0, 1.0]
    schedule = LossAdaptiveLearningRate(BASE, AutoC(0.5, min_steps=10), rho=1.0)
    factors, _ = taken(schedule, losses)
    np.testing.assert_allclose(factors, [0.1, 0.2, 0.3, 0.4, 0.5, 0.25, 0.35], rtol=1e-5)
    floored = LossAdaptiveLearningRate(BASE, AutoC(0.5, min_steps=10), rho=1.0, min_factor=0.4)
    factors, _ = taken(floored, losses)
    np.testing.assert_allclose(factors, [0.4, 0.5, 0.6, 0.7, 0.8, 0.4, 0.5], rtol=1e-5)


def test_a_spike_does_not_start_the_rise_anew():
    losses = [4.0] * 30 + [400.0, 1.0]
    schedule = LossAdaptiveLearningRate(
        BASE, AutoC(fraction=1.0, min_steps=10), rho=0.1, spike_threshold=4.0
    )
    factors, _ = taken(schedule, losses)
    assert factors[29] == 1.0 and factors[30] < 0.01 and factors[31] > 0.7
