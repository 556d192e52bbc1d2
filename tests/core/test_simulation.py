"""A simulated schedule takes the rates that an optimizer with it takes."""

import keras
import numpy as np
import pytest

from keras_h0h1 import LossAdaptiveLearningRate, LossAware, SmoothnessLearningRate
from keras_h0h1.callbacks import LearningRateLogger
from keras_h0h1.schedules import (
    GradientNormLearningRate,
    LossDrivenSchedule,
    WarmupStableDecay,
    plot,
    simulate,
)
from tests.core import problems

LOSSES = [9.0, 8.0, float("nan"), 3.0, 12.0, 1.0, float("inf"), 2.5, 5.0, 0.5]
NORMS = [5.0, 4.0, 3.0, float("inf"), 1.0, 0.0, 2.0, 7.0, 8.0, 0.25]


class _Unusable(LossDrivenSchedule):
    """A rule of the user's own whose rate is now and then infinite or negative."""

    def initial_state(self):
        return {"seen": 1.0}

    def update(self, state, loss, gradient_norm=None):
        return {"seen": 1.0 / (loss - 3.0)}

    def base_rate(self, step, state):
        return 0.5

    def factor(self, state):
        return state["seen"]


SCHEDULES = {
    "plain": lambda: LossAdaptiveLearningRate(0.1, C=4.0),
    "options": lambda: LossAdaptiveLearningRate(
        WarmupStableDecay(0.1, 10, 2, 3), 4.0, 0.25, 2.0, smoothing=0.5, latch=True, min_factor=0.1
    ),
    "theory": lambda: SmoothnessLearningRate(0.5, 0.25, rule="sharp"),
    "envelope": lambda: SmoothnessLearningRate(0.5, 0.25, rule="envelope"),
    "gradient norm": lambda: GradientNormLearningRate(0.5, 0.25),
    "own": _Unusable,
}


def _taken(schedule, losses, norms, steps_per_update=1):
    """What `LossAware` does in `apply`, loss by loss."""
    accumulate = steps_per_update if steps_per_update > 1 else None
    optimizer = LossAware(keras.optimizers.SGD(schedule, gradient_accumulation_steps=accumulate))
    weight = keras.Variable([0.0])
    rows = []
    for loss, norm in zip(losses, norms, strict=True):
        for _ in range(steps_per_update):
            gradient = keras.ops.convert_to_tensor([norm], dtype=weight.dtype)
            optimizer.apply([gradient], [weight], loss=loss)
        state = optimizer.rate_states[0]
        rows.append([float(state.base_rate()), float(state.factor()), float(state.rate())])
    return np.array(rows).T


@pytest.mark.parametrize(
    ("kind", "steps_per_update"), [*((kind, 1) for kind in SCHEDULES), ("options", 2)]
)
def test_the_rates_are_those_of_the_optimizer(kind, steps_per_update, floatx):
    schedule = SCHEDULES[kind]()
    norms = NORMS if schedule.needs_gradient_norm else [1.0] * 10
    want = _taken(schedule, LOSSES, norms, steps_per_update)
    run = simulate(schedule, LOSSES, NORMS, steps_per_update=steps_per_update)
    got = [run.learning_rate, run.learning_rate_factor, run.effective_learning_rate]
    precision = 1e-12 if floatx == "float64" and keras.backend.backend() != "torch" else 2e-6
    np.testing.assert_allclose(got, want, rtol=precision)
    assert all(row.dtype == "float64" and len(row) == 10 for row in got)
    np.testing.assert_array_equal(run.batch_loss, LOSSES)
    assert run.step.tolist() == [steps_per_update * k for k in range(1, 11)]
    assert not schedule.bound


def test_a_run_is_foretold_by_its_own_losses():
    logger = LearningRateLogger()
    schedule = LossAdaptiveLearningRate(WarmupStableDecay(0.05, 8, 0, 4), C=2.0)
    model = problems.mlp(LossAware(keras.optimizers.SGD(schedule)))
    problems.fit(model, callbacks=[logger])
    for losses in (logger, logger.history, logger.history["batch_loss"]):
        run = simulate(schedule, losses)
        for name, values in logger.history.items():
            np.testing.assert_allclose(getattr(run, name), values, rtol=2e-6)


def test_the_base_rate_is_the_one_that_was_set():
    optimizer = LossAware(keras.optimizers.SGD(LossAdaptiveLearningRate(0.1, C=4.0)))
    optimizer.learning_rate = 0.5
    run = simulate(optimizer.rate_states[0].schedule, [8.0, 2.0])
    np.testing.assert_allclose(run.effective_learning_rate, [0.25, 0.5], rtol=1e-6)


def test_a_schedule_by_the_step_needs_no_losses():
    base = keras.optimizers.schedules.CosineDecay(0.1, 8)
    run = simulate(base, steps=6)
    want = [float(base(k)) for k in range(6)]
    np.testing.assert_allclose(run.effective_learning_rate, want, rtol=1e-6)
    np.testing.assert_array_equal(run.learning_rate, run.effective_learning_rate)
    assert np.isnan(run.batch_loss).all() and (run.learning_rate_factor == 1).all()
    micro = simulate(WarmupStableDecay(1.0, 6, 4, steps_per_update=3), steps=6, steps_per_update=3)
    np.testing.assert_allclose(micro.effective_learning_rate, [0.25, 0.5, 0.75, 1, 1, 1])


def test_losses_of_epochs_and_functions_are_spread_over_the_steps():
    schedule = LossAdaptiveLearningRate(1.0, C=1.0)
    history = keras.callbacks.History()
    history.history = {"loss": [8.0, 4.0]}
    run = simulate(schedule, history, steps=8)
    # The means stand in the middle of the two epochs of four steps.
    assert run.batch_loss.tolist() == [8, 8, 7.5, 6.5, 5.5, 4.5, 4, 4]
    np.testing.assert_allclose(run.effective_learning_rate, 1 / run.batch_loss, rtol=1e-6)
    called = simulate(schedule, lambda k: 8.0 / (k + 1), steps=4)
    np.testing.assert_allclose(called.batch_loss, [8, 4, 8 / 3, 2])
    assert simulate(schedule, [np.nan, 3.0], steps=3).batch_loss.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"schedule": 0.1, "steps": 3}, TypeError),
        ({"losses": None, "steps": 3}, ValueError),
        ({"losses": []}, ValueError),
        ({"losses": [[1.0]]}, ValueError),
        ({"losses": "falling"}, TypeError),
        ({"losses": {"accuracy": [1.0]}}, ValueError),
        ({"losses": lambda k: 1.0}, ValueError),
        ({"steps": 0}, ValueError),
        ({"steps_per_update": 0}, ValueError),
        ({"schedule": GradientNormLearningRate(1.0, 1.0)}, ValueError),
        ({"schedule": WarmupStableDecay(1.0, 2), "losses": None}, ValueError),
    ],
)
def test_bad_arguments(arguments, error):
    arguments = {"schedule": LossAdaptiveLearningRate(0.1, 2.0), "losses": [1.0], **arguments}
    with pytest.raises(error, match=r"Received: "):
        simulate(**arguments)


def test_the_picture_shows_loss_factor_and_rates(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the package matplotlib")
    schedule = LossAdaptiveLearningRate(0.1, C=4.0)
    figure = plot(schedule, [8.0, 5.0, 2.0], path=tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 5000
    loss, factor, rates = figure.axes
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "factor", "learning rate"]
    assert loss.lines[0].get_ydata().tolist() == [8, 5, 2]
    np.testing.assert_allclose(factor.lines[0].get_ydata(), [0.5, 0.8, 1.0], rtol=1e-6)
    lines = {line.get_label(): line.get_ydata() for line in rates.lines}
    np.testing.assert_allclose(lines["effective"], [0.05, 0.08, 0.1], rtol=1e-6)
    np.testing.assert_allclose(lines["base"], [0.1] * 3, rtol=1e-6)
    assert factor.texts[0].get_text() == "0.5 at first, 1 from step 3 on"
    assert len(plot(WarmupStableDecay(1.0, 4, 2), steps=4).axes) == 1
    never = plot(schedule, [8.0, 5.0, 6.0])
    assert never.axes[1].texts[0].get_text() == "0.5 at first, never 1 (at most 0.8)"
