"""Numbers from the edges of float32: refused when the state is made, or all weights finite."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_h0h1 import AdaptiveGD, LossAdaptiveLearningRate, LossAware, step_sizes
from tests.attack import rates
from tests.core import problems

NAN, INF = float("nan"), float("inf")
SGD = keras.optimizers.SGD


def _aware(base=0.5, C=1.0, accumulate=None, weight_decay=None, **arguments):
    schedule = LossAdaptiveLearningRate(base, C, **arguments)
    return LossAware(
        SGD(schedule, gradient_accumulation_steps=accumulate, weight_decay=weight_decay)
    )


def _steps(optimizer, losses, weight=None, gradient=1.0):
    """The weight after each loss, and the rates read after each."""
    weight = keras.Variable([1.0]) if weight is None else weight
    values, seen = [], []
    for loss in losses:
        loss = ops.convert_to_tensor(np.float32(loss))
        optimizer.apply([gradient * ops.ones((1,))], [weight], loss=loss)
        values.append(float(ops.convert_to_numpy(weight)[0]))
        seen.append(float(optimizer.rate_states[0].rate()))
    return values, seen


@pytest.mark.parametrize(
    "make",
    [
        lambda: _aware(C=1e-46),
        lambda: _aware(C=1e-40),
        lambda: _aware(C=1e39),
        lambda: _aware(f_star=-3.4e38),
        lambda: _aware(f_star=1e-45),
        lambda: _aware(rho=1e39),
        lambda: _aware(rho=1e-46),
        lambda: _aware(smoothing=1e-45),
        lambda: _aware(min_factor=1e-46),
        lambda: _aware(base=1e39),
        lambda: _aware(base=1e38),
        lambda: _aware(base=1e-45),
        lambda: AdaptiveGD(1.0, 1e39),
        lambda: AdaptiveGD(1e-46, 1.0),
        lambda: AdaptiveGD(1.0, 3e37),  # 20 H1
        lambda: AdaptiveGD(5e37, 1.0),  # 10 H0
        lambda: AdaptiveGD(1.0, 1.0, rho=100.0, rule="power"),  # 3**rho
        lambda: AdaptiveGD(1.0, 1.0, rho=1000.0, rule="power"),
    ],
)
def test_constants_beyond_the_dtype_are_refused(make):
    with pytest.raises(ValueError, match=r"(?s)float32.*Received: \S"):
        make()


def test_float64_holds_what_float32_does_not(float64):
    for make in (lambda: _aware(C=1e-46), lambda: _aware(base=1e39), lambda: AdaptiveGD(1.0, 1e39)):
        make()
    with pytest.raises(ValueError, match=r"(?s)float64.*Received: C="):
        _aware(C=1e-320)


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -1.0, 1e38])
def test_an_unusable_rate_of_a_base_schedule_keeps_the_last_one(bad):
    base = rates.Listed([0.5, bad, bad, 0.25])
    values, seen = _steps(_aware(base), [1.0] * 4)
    assert values == [0.5, 0.0, -0.5, -0.75]
    assert seen == [0.5, 0.5, 0.5, 0.25]
    # Before the first usable rate the weights stay.
    values, _ = _steps(_aware(rates.Listed([bad, 0.5])), [1.0] * 2)
    assert values == [1.0, 0.5]


def test_weight_decay_gets_the_same_rate():
    base = rates.Listed([0.5, NAN])
    values, _ = _steps(_aware(base, weight_decay=0.25), [1.0] * 2, gradient=0.0)
    assert values == [0.875, 0.875**2]


def test_the_last_rate_is_compiled_and_saved(tmp_path):
    bad = rates.Listed([0.125] * 3 + [NAN] * 100)
    fine = rates.Listed([0.125] * 103)
    expected = problems.fit(problems.mlp(_aware(fine, C=1e30)), epochs=2)
    model = problems.mlp(_aware(bad, C=1e30))
    assert problems.largest_difference(problems.fit(model, epochs=2), expected) == 0.0
    # Such a schedule cannot be saved with the model, but the optimizer's variables can.
    state = [ops.convert_to_numpy(v) for v in model.optimizer.variables]
    other = _aware(rates.Listed([NAN] * 100), C=1e30)
    other.build(model.trainable_variables)
    for variable, value in zip(other.variables, state, strict=True):
        variable.assign(value)
    assert float(other.rate_states[0].rate()) == 0.125


def test_a_rate_that_is_set_beyond_the_dtype():
    optimizer = _aware()
    for value in (1e39, 1e38, 1e-45):
        with pytest.raises(ValueError, match=r"Received: learning_rate="):
            optimizer.learning_rate = value
    weight = keras.Variable([1.0])
    _steps(optimizer, [1.0], weight)
    optimizer.rate_states[0].variables["base"].assign(INF)
    assert _steps(optimizer, [1.0, 2.0], weight)[1] == [0.5, 0.5]


@pytest.mark.parametrize("rule", ["sharp", "power"])
def test_no_curvature_growth_whatever_the_exponent(rule):
    """H1 = 0 is a constant curvature: the rate is that of H0 at every loss."""
    expected = {"sharp": 1.0, "power": 0.5}[rule]
    _, seen = _steps(AdaptiveGD(1.0, 0.0, rho=4.0, rule=rule), [1e10, 1.0, 3e38])
    assert seen == [expected] * 3


def test_a_power_of_the_gap_beyond_the_largest_number():
    # The gap's power is 1e40, its product with H1 is 1e10.
    _, seen = _steps(AdaptiveGD(1.0, 1e-30, rho=4.0, rule="sharp"), [1e10])
    assert seen == [pytest.approx(1e-10, rel=1e-4)]
    _, seen = _steps(AdaptiveGD(1.0, 1e-30, rho=4.0, rule="power"), [1e10])
    assert seen == [pytest.approx(0.5e-10 / 81, rel=1e-4)]
    assert step_sizes.sharp(1e100, H0=1.0, H1=1e-300, rho=4.0) == pytest.approx(1e-100)


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_a_window_of_losses_whose_sum_overflows(accumulate):
    optimizer = _aware(C=1e37, accumulate=accumulate, smoothing=0.5)
    weight = keras.Variable([1.0])
    _, seen = _steps(optimizer, [3e38] * accumulate, weight)
    assert float(optimizer.observed_loss) == pytest.approx(3e38, rel=1e-6)
    assert seen[-1] == pytest.approx(0.5 / 30, rel=1e-6)
    # And the average comes down again.
    _, seen = _steps(optimizer, [1.0] * (accumulate * 12), weight)
    assert seen[-1] == 0.5


def test_a_rule_without_bound_near_the_minimum_keeps_the_last_rate():
    """1/(H1 gap) would be 1e30, whose square is beyond float32."""
    _, seen = _steps(AdaptiveGD(0.0, 1e-10, rule="sharp"), [1.0, 1e-20, 2.0])
    assert seen == [pytest.approx(rate, rel=1e-6) for rate in (1e10, 1e10, 5e9)]


class _Unregistered(keras.optimizers.schedules.LearningRateSchedule):
    """Has a configuration, but Keras does not know the class."""

    def __init__(self, rate):
        self.given = rate

    def __call__(self, step):
        return self.given / (ops.cast(step, "float32") + 1.0)

    def get_config(self):
        return {"rate": self.given}


def test_any_schedule_is_a_base():
    values, _ = _steps(_aware(_Unregistered(0.5)), [1.0, 1.0])
    assert values == [0.5, 0.25]
    base = rates.Listed([0.5, 0.25])
    schedule = LossAdaptiveLearningRate(base, C=1.0)
    first, second = (LossAware(SGD(schedule)) for _ in range(2))
    assert _steps(first, [1.0, 2.0])[0] == [0.5, 0.375]
    # A state of its own for each.
    assert _steps(second, [1.0, 1.0])[0] == [0.5, 0.25]
    assert not schedule.bound
    assert "LossAdaptiveLearningRate" in repr(schedule)


def test_a_copy_starts_from_the_rate_that_was_set():
    optimizer = _aware()
    optimizer.learning_rate = 0.25
    bound = optimizer.rate_states[0].schedule
    assert bound.bound and not bound.copy().bound
    assert bound.copy().base == 0.25


def test_combinations_from_the_edges():
    """The long form: `python -m tests.attack.rates --count 10000`."""
    counts, wrong = rates.attack(100)
    assert wrong == []
    assert counts["refused"] > 10 and counts["finite"] > 30
