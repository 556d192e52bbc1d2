"""AdaptiveGD with estimated constants, through Keras."""

import copy
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_h0h1 import AdaptiveGD, LossAware, LossScaleOptimizer
from keras_h0h1.schedules import OnlineSmoothnessLearningRate
from keras_h0h1.theory import problems as theory
from tests.core import problems
from tests.core.online_reference import Reference, descend, rises_in_a_row

# Two of them with steps that are taken back, because the level is far too low.
CASES = {
    "separation": (theory.Separation(), [5.0, 1.0], {}),
    "ill-conditioned": (theory.Quadratic([1.0, 300.0]), [1.0, 1e-4], {"f_star": -1.0}),
    "cosh, rho": (theory.Cosh(2.0, 3.0, 3), [1.0, -2.0, 0.5], {"rho": 0.5}),
    "H0 given": (theory.HardFamily(2.0, 3.0), [4.0], {"H0": 2.0}),
    "H1 given": (theory.HardFamily(2.0, 3.0), [4.0], {"H1": 3.0}),
    "overflow": (theory.Cosh(1.0, 1.0), [2.0], {"f_star": -1e6}),
}


def _descend(optimizer, problem, start, steps):
    w = keras.Variable(np.array(start))
    losses, rates = [], []
    with np.errstate(all="ignore"):
        for _ in range(steps):
            point = np.asarray(ops.convert_to_numpy(w), "float64")
            losses.append(float(problem.value(point)))
            gradient = ops.convert_to_tensor(problem.gradient(point), dtype=w.dtype)
            # TensorFlow takes a Python number for float32.
            optimizer.apply([gradient], [w], loss=ops.convert_to_tensor(losses[-1], dtype=w.dtype))
            rates.append(float(optimizer.effective_learning_rate))
    return losses, rates, np.asarray(ops.convert_to_numpy(w), "float64")


@pytest.mark.parametrize("name", CASES)
def test_it_follows_the_reference(name, float64, backend):
    problem, start, options = CASES[name]
    reference = Reference(**options)
    # Nearer to the minimum than that, convergence is so fast that rounding decides.
    _, losses, rates, _ = descend(problem, np.array(start), reference, 1e-12, max_steps=12)
    received, received_rates, _ = _descend(AdaptiveGD(**options), problem, start, len(rates))
    assert len(rates) >= 6
    taken_back = [rate == 0.0 for rate in rates]
    assert any(taken_back) == ("f_star" in options)
    # PyTorch's Keras passes the rate on in float32; a step that overflows magnifies that.
    tolerance = 1e-4 if backend == "torch" else 1e-9
    np.testing.assert_allclose(received_rates, rates, rtol=tolerance)
    np.testing.assert_allclose(received, losses[: len(rates)], rtol=100 * tolerance, atol=1e-12)


def _full_batch(optimizer, epochs, model=None):
    """Trains on all examples at once; returns the model and the loss before each step."""
    model = problems.mlp(optimizer) if model is None else model
    x, y = problems.data()
    history = model.fit(
        x.astype(keras.config.floatx()),
        y,
        batch_size=len(x),
        shuffle=False,
        epochs=epochs,
        verbose=0,
    )
    return model, history.history["loss"]


def _rises(losses):
    """As `rises_in_a_row`, at the precision of float32."""
    return rises_in_a_row([float(np.float32(f)) + 0.0 for f in losses])


def test_full_batch_training_needs_no_constant():
    model, losses = _full_batch(AdaptiveGD(), 40)
    assert losses[-1] < 0.1 * losses[0]
    assert _rises(losses) <= 1
    constants = model.optimizer.estimated_constants
    assert all(value > 0 for value in constants.values())
    assert float(model.optimizer.rate_states[0].variables["noisy"]) == 0.0


def test_save_load_continue(tmp_path):
    """Saved after each of four steps, of which one is about to be taken back."""
    reference, losses = _full_batch(AdaptiveGD(f_star=-50.0), 4)
    assert _rises(losses) == 1
    model = problems.mlp(AdaptiveGD(f_star=-50.0))
    continued = []
    for step in range(4):
        continued += _full_batch(None, 1, model)[1]
        model.save(tmp_path / f"{step}.keras")
        model = keras.models.load_model(tmp_path / f"{step}.keras")
    assert continued == losses
    assert problems.largest_difference(model.get_weights(), reference.get_weights()) == 0.0
    for ours, theirs in zip(model.optimizer.variables, reference.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))


@pytest.mark.parametrize(
    "options",
    [{}, {"H0": 2.0, "f_star": -1.0, "rho": 0.5}, {"H1": 3.0, "safeguard": False, "momentum": 0.5}],
)
def test_config_round_trip(options):
    config = keras.optimizers.serialize(AdaptiveGD(**options))
    twin = keras.optimizers.deserialize(copy.deepcopy(config))
    assert keras.optimizers.serialize(twin) == config
    assert {name: config["config"][name] for name in options} == options
    first = problems.fit(problems.mlp(AdaptiveGD(**options)))
    assert problems.largest_difference(first, problems.fit(problems.mlp(twin))) == 0.0


def test_mini_batches_are_noticed():
    model = problems.mlp(AdaptiveGD())
    problems.fit(model, epochs=8)
    assert float(model.optimizer.rate_states[0].variables["noisy"]) == 1.0
    x, y = problems.data()
    assert model.evaluate(x, y, verbose=0) < 0.5 * problems.mlp(AdaptiveGD()).evaluate(
        x, y, verbose=0
    )


def test_accumulated_batches_are_the_whole():
    _, whole = _full_batch(AdaptiveGD(f_star=-50.0), 12)
    model = problems.mlp(AdaptiveGD(f_star=-50.0, gradient_accumulation_steps=4))
    x, y = problems.data()
    history = model.fit(x, y, batch_size=8, shuffle=False, epochs=12, verbose=0)
    assert _rises(whole) == 1
    np.testing.assert_allclose(history.history["loss"], whole, rtol=1e-3)


def test_loss_scaling_changes_nothing():
    _, plain = _full_batch(AdaptiveGD(f_star=-50.0), 12)
    _, scaled = _full_batch(LossScaleOptimizer(AdaptiveGD(f_star=-50.0), initial_scale=8.0), 12)
    np.testing.assert_allclose(scaled, plain, rtol=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_taken_back(bad, where):
    optimizer, w = AdaptiveGD(), keras.Variable([4.0, 1.0])
    for step in range(4):
        v = ops.convert_to_numpy(w)
        loss, gradient = float(np.sum(v**2)), 2.0 * v
        if step == 0:
            before = v.copy()
        if step == 1:
            rate = float(optimizer.effective_learning_rate)
            loss, gradient = (bad, gradient) if where == "loss" else (loss, gradient * bad)
        optimizer.apply([ops.convert_to_tensor(gradient)], [w], loss=loss)
        if step == 1:
            np.testing.assert_array_equal(ops.convert_to_numpy(w), before)
            assert float(optimizer.effective_learning_rate) == 0.0
        if step == 2:
            # Ten times the curvature at that gap; nothing was learnt about noise.
            assert float(optimizer.effective_learning_rate) == pytest.approx(0.1 * rate, rel=1e-5)
    assert float(optimizer.observed_loss) == pytest.approx(loss)


def test_nan_before_any_step_moves_nothing():
    optimizer, w = AdaptiveGD(), keras.Variable([4.0])
    optimizer.apply([ops.convert_to_tensor([math.nan])], [w], loss=1.0)
    optimizer.apply([ops.convert_to_tensor([1.0])], [w], loss=math.nan)
    np.testing.assert_array_equal(ops.convert_to_numpy(w), [4.0])
    optimizer.apply([ops.convert_to_tensor([8.0])], [w], loss=16.0)
    # A third more than Polyak's step, 16 / 64.
    np.testing.assert_allclose(ops.convert_to_numpy(w), [4.0 - 8.0 / 3.0], rtol=1e-6)


@pytest.mark.parametrize("pending", [False, True], ids=["after a step", "after taking one back"])
def test_weights_that_were_set_are_a_new_start(pending):
    optimizer, w = AdaptiveGD(f_star=-300.0 if pending else 0.0), keras.Variable([4.0, -2.0])

    def step():
        v = ops.convert_to_numpy(w)
        optimizer.apply([ops.convert_to_tensor(2.0 * v)], [w], loss=float(np.sum(v**2)))
        return float(optimizer.effective_learning_rate)

    rates = [step() for _ in range(2)]
    assert (rates[-1] == 0.0) == pending
    w.assign([40.0, -50.0])
    rate = step()
    assert rate > 0.0
    np.testing.assert_allclose(
        ops.convert_to_numpy(w), np.array([40.0, -50.0]) * (1 - 2 * rate), rtol=1e-5
    )
    assert float(optimizer.rate_states[0].variables["noisy"]) == 0.0


REFUSED = {
    "momentum": 0.9,
    "weight_decay": 0.1,
    "clipnorm": 1.0,
    "clipvalue": 1.0,
    "global_clipnorm": 1.0,
    "use_ema": True,
}


@pytest.mark.parametrize("option", REFUSED)
def test_options_that_hide_what_a_step_did_are_refused(option):
    value = REFUSED[option]
    with pytest.raises(ValueError, match=f"`{option}` .*safeguard=False.*Received: {option}="):
        AdaptiveGD(**{option: value})
    if option not in ("momentum", "use_ema"):
        optimizer = AdaptiveGD()
        with pytest.raises(ValueError, match=f"Received: {option}="):
            setattr(optimizer, option, value)
    problems.fit(problems.mlp(AdaptiveGD(safeguard=False, **{option: value})), epochs=1)
    AdaptiveGD(1.0, 1.0, **{option: value})


def test_errors():
    with pytest.raises(ValueError, match=r"'sharp' alone.*Received: rule='paper'"):
        AdaptiveGD(rule="paper")
    with pytest.raises(TypeError, match=r'"auto" or a real number. Received: H0='):
        AdaptiveGD(H0="automatic")
    with pytest.raises(TypeError, match="`safeguard` must be a boolean"):
        AdaptiveGD(safeguard=1)
    with pytest.raises(ValueError, match="nothing to estimate"):
        OnlineSmoothnessLearningRate(1.0, 2.0)
    schedule = OnlineSmoothnessLearningRate(safeguard=True)
    with pytest.raises(ValueError, match="can take a step back"):
        LossAware(keras.optimizers.SGD(schedule))
    weight = keras.Variable([1.0], constraint=keras.constraints.NonNeg())
    weight._constraint = keras.constraints.NonNeg()
    with pytest.raises(ValueError, match="weights with a constraint"):
        AdaptiveGD().build([weight])
