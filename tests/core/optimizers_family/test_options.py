"""What every optimizer of the family keeps: options of Keras, bad numbers, the rate that is set."""

import copy

import keras
import numpy as np
import pytest
from keras import ops

import keras_h0h1
from keras_h0h1.optimizers import NGNMD
from tests.core.optimizers_family.cases import CASES, DECAY
from tests.core.optimizers_family.reference import Problem
from tests.core.optimizers_family.test_reference import RTOL, run

NAN, INF = float("nan"), float("inf")
PROBLEM = Problem("network")
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def _clip(gradients, option):
    ((name, limit),) = option.items()
    if name == "clipvalue":
        return [np.clip(g, -limit, limit) for g in gradients]
    norms = [np.sqrt(np.sum(g**2)) for g in gradients]
    if name == "global_clipnorm":
        norms = [np.sqrt(sum(n**2 for n in norms))] * len(norms)
    return [g * min(1.0, limit / n) for g, n in zip(gradients, norms, strict=True)]


def _reference(case, steps, change=lambda gradients: gradients, **arguments):
    """The reference's weights, its gradients changed by `change`, and its rates."""
    optimizer = case.reference(**{**case.arguments, **arguments})
    weights, rates = PROBLEM.start, []
    for step in range(steps):
        loss, raw = PROBLEM(weights, step)
        weights, rate = optimizer.step(weights, change(raw), loss, raw)
        rates.append(rate)
    return weights, rates


def _assert_close(ours, theirs, rtol=RTOL):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=0.1 * RTOL)


@each_case
def test_config_round_trip(case):
    decayed = case.make(**case.arguments, weight_decay=DECAY, global_clipnorm=0.5, use_ema=True)
    decaying = keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.5)
    rate = "max_learning_rate" if "max_learning_rate" in case.arguments else "learning_rate"
    for optimizer in (decayed, case.make(**{**case.arguments, rate: decaying})):
        config = keras.optimizers.serialize(optimizer)
        assert config["registered_name"] == f"keras_h0h1>{case.make.__name__}"
        twin = keras.optimizers.deserialize(copy.deepcopy(config))
        assert type(twin) is case.make
        assert keras.optimizers.serialize(twin) == config
        assert (
            twin.get_config().items()
            >= {
                k: v for k, v in case.arguments.items() if k != rate or optimizer is decayed
            }.items()
        )
        _assert_close(run(optimizer, PROBLEM, 3)[2], run(twin, PROBLEM, 3)[2], rtol=0)


@each_case
@pytest.mark.parametrize(
    "option", [{"clipnorm": 0.05}, {"clipvalue": 0.02}, {"global_clipnorm": 0.05}], ids=str
)
def test_clipping(case, option, float64):
    weights = run(case.make(**case.arguments, **option), PROBLEM, 4)[2]
    _assert_close(weights, _reference(case, 4, lambda g: _clip(g, option))[0])


@each_case
def test_ema(case, float64):
    optimizer = case.make(**case.arguments, use_ema=True, ema_momentum=0.5)
    variables = [keras.Variable(w, dtype="float64") for w in PROBLEM.start]
    optimizer.build(variables)
    written, weights, average = case.reference(**case.arguments), PROBLEM.start, None
    for step in range(4):
        loss, gradients = PROBLEM(weights, step)
        optimizer.apply([ops.convert_to_tensor(g) for g in gradients], variables, loss=loss)
        weights, _ = written.step(weights, gradients, loss)
        # As Keras: the average starts at the first weights after a step.
        average = average or weights
        average = [0.5 * a + 0.5 * w for a, w in zip(average, weights, strict=True)]
    _assert_close([ops.convert_to_numpy(v) for v in variables], weights)
    optimizer.finalize_variable_values(variables)
    _assert_close([ops.convert_to_numpy(v) for v in variables], average)


@each_case
def test_accumulation(case, float64):
    """Two micro-batches, scaled, are one batch: the mean loss, the mean gradient, one move."""
    optimizer = case.make(
        **case.arguments, gradient_accumulation_steps=2, loss_scale_factor=4.0, clipvalue=0.05,
        weight_decay=DECAY,
    )  # fmt: skip
    variables = [keras.Variable(w, dtype="float64") for w in PROBLEM.start]
    optimizer.build(variables)
    written = case.reference(**case.arguments, weight_decay=DECAY)
    weights = PROBLEM.start
    for window in range(3):
        parts = [PROBLEM(weights, step) for step in (2 * window, 2 * window + 1)]
        for i, (loss, gradients) in enumerate(parts):
            _assert_close([ops.convert_to_numpy(v) for v in variables], weights)
            assert int(optimizer.iterations) == window
            scaled = [ops.convert_to_tensor(4.0 * g) for g in gradients]
            optimizer.apply(scaled, variables, loss=loss)
            if i == 0 and window > 0:
                assert float(optimizer.effective_learning_rate) == pytest.approx(rate)  # noqa: F821
        loss = np.mean([part[0] for part in parts])
        raw = [0.5 * (a + b) for a, b in zip(parts[0][1], parts[1][1], strict=True)]
        weights, rate = written.step(weights, _clip(raw, {"clipvalue": 0.05}), loss, raw)
        assert float(optimizer.effective_learning_rate) == pytest.approx(rate, rel=RTOL)
    _assert_close([ops.convert_to_numpy(v) for v in variables], weights)


@each_case
def test_a_rate_that_is_set(case, float64):
    optimizer = case.make(**case.arguments)
    rate = "max_learning_rate" if "max_learning_rate" in case.arguments else "learning_rate"

    def halve(step):
        if step == 2:
            optimizer.learning_rate = 0.125 * optimizer.learning_rate

    _, rates, weights = run(optimizer, PROBLEM, 4, halve)
    written, expected = case.reference(**case.arguments), PROBLEM.start
    for step in range(4):
        if step == 2:
            setattr(written, rate, 0.125 * case.arguments[rate])
        expected, size = written.step(expected, *reversed(PROBLEM(expected, step)))
        assert rates[step] == pytest.approx(size, rel=RTOL)
    _assert_close(weights, expected)
    assert float(optimizer.learning_rate) == 0.125 * case.arguments[rate]
    assert optimizer.get_config()[rate] == 0.125 * case.arguments[rate]


@each_case
def test_a_schedule_as_base(case, float64):
    rate = "max_learning_rate" if "max_learning_rate" in case.arguments else "learning_rate"
    base = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.0625])
    optimizer = case.make(**{**case.arguments, rate: base})
    _, rates, weights = run(optimizer, PROBLEM, 4)
    written, expected = case.reference(**case.arguments), PROBLEM.start
    for step in range(4):
        setattr(written, rate, 0.5 if step <= 1 else 0.0625)
        expected, size = written.step(expected, *reversed(PROBLEM(expected, step)))
        assert rates[step] == pytest.approx(size, rel=RTOL)
    _assert_close(weights, expected)
    with pytest.raises(TypeError, match="Received: learning_rate="):
        optimizer.learning_rate = 0.5


@each_case
def test_a_loss_that_is_not_finite(case, float64):
    """At first it moves nothing. Later the rate stays; with averages the whole step is left out."""
    optimizer = case.make(**case.arguments, weight_decay=DECAY)
    variables = [keras.Variable(w, dtype="float64") for w in PROBLEM.start]
    optimizer.build(variables)
    written = case.reference(**case.arguments, weight_decay=DECAY)

    def apply(gradients, loss):
        optimizer.apply([ops.convert_to_tensor(g) for g in gradients], variables, loss=loss)
        return [ops.convert_to_numpy(v) for v in variables]

    _, gradients = PROBLEM(PROBLEM.start, 0)
    for loss in (NAN, INF):
        _assert_close(apply(gradients, loss), PROBLEM.start, rtol=0)
    weights = PROBLEM.start
    assert float(optimizer.effective_learning_rate) == 0.0
    for step in range(3):
        loss, gradients = PROBLEM(weights, step)
        weights, rate = written.step(weights, gradients, loss)
        _assert_close(apply(gradients, loss), weights)
    for loss in (NAN, -INF):
        after = apply(gradients, loss)
        assert all(np.isfinite(w).all() for w in after)
        assert float(optimizer.effective_learning_rate) == pytest.approx(rate, rel=RTOL)
        if case.sees_clipping:
            _assert_close(after, weights, rtol=0)
    if not case.sees_clipping:
        return
    _assert_close(apply([NAN * g for g in gradients], 1.0), weights, rtol=0)
    for step in (3, 4):
        loss, gradients = PROBLEM(weights, step)
        weights, _ = written.step(weights, gradients, loss)
        _assert_close(apply(gradients, loss), weights)


@each_case
def test_a_gradient_of_zero_and_missing_gradients(case, backend):
    optimizer = case.make(**case.arguments)
    variables = [keras.Variable(w) for w in PROBLEM.start]
    optimizer.build(variables)
    loss, gradients = PROBLEM(PROBLEM.start, 0)
    zeros = [ops.zeros(g.shape) for g in gradients]
    optimizer.apply(zeros, variables, loss=loss)
    for variable, start in zip(variables, PROBLEM.start, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(variable), start, rtol=1e-6)
    some = [ops.convert_to_tensor(gradients[0], dtype="float32"), None]
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply(some, variables, loss=1.0)
    assert np.abs(ops.convert_to_numpy(variables[0]) - PROBLEM.start[0]).max() > 1e-4
    np.testing.assert_allclose(ops.convert_to_numpy(variables[1]), PROBLEM.start[1], rtol=1e-6)


@each_case
def test_bad_arguments(case):
    for name, value in case.arguments.items():
        wrong = "nonsense" if isinstance(value, (str, bool)) else NAN
        with pytest.raises((ValueError, TypeError), match=r"(?s)(Received: )|(must be a float)"):
            case.make(**{**case.arguments, name: wrong})
    with pytest.raises(ValueError, match="not recognized"):
        case.make(nonsense=1.0)
    if "max_learning_rate" not in case.arguments:
        with pytest.raises(TypeError, match="Received: learning_rate="):
            case.make(learning_rate=keras_h0h1.LossAdaptiveLearningRate(1.0, C=1.0))


@pytest.mark.parametrize(
    "make", sorted({case.make for case in CASES.values() if case.sees_clipping}, key=str)
)
def test_excluded_from_weight_decay(make, float64):
    kernel = keras.Variable([1.0], name="kernel", dtype="float64")
    bias = keras.Variable([1.0], name="bias", dtype="float64")
    optimizer = make(learning_rate=0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.ones((1,), dtype="float64")] * 2, [kernel, bias], loss=100.0)
    moved = [1.0 - float(ops.convert_to_numpy(v)[0]) for v in (kernel, bias)]
    rate = float(optimizer.effective_learning_rate)
    # NGN-MD's decay is Keras', MoMo's that of its formula, with the largest step.
    expected = 0.5 * rate if make is NGNMD else 0.25 / 1.25
    assert moved[0] - moved[1] == pytest.approx(expected, rel=RTOL)


def test_a_loss_below_the_bound():
    """A negative step would move uphill: SPS keeps its last rate, the others stay."""
    loss_below, gradient = -1.0, 2.0 * np.ones(1)
    for name, stays in (("PolyakSGD", False), ("PolyakSGD sps+", True), ("ALIG", True),
                        ("NGN", True), ("NGNMD", True), ("MoMo", True)):  # fmt: skip
        case = CASES[name]
        arguments = {**case.arguments, **({"momentum": 0.0} if name == "ALIG" else {})}
        weight = keras.Variable([1.0])
        optimizer = case.make(**arguments)
        if not stays:
            optimizer.apply([ops.convert_to_tensor(gradient, dtype="float32")], [weight], loss=1.0)
        before = ops.convert_to_numpy(weight).copy()
        optimizer.apply(
            [ops.convert_to_tensor(gradient, dtype="float32")], [weight], loss=loss_below
        )
        moved = before - ops.convert_to_numpy(weight)
        if stays:
            assert moved[0] == 0.0, name
        else:
            assert moved[0] == pytest.approx(2.0 * 0.25)
