"""Schedules by the step and by the gradient's norm, against closed forms and other libraries."""

import copy
import math

import keras
import numpy as np
import pytest

from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from keras_h0h1.schedules import (
    GradientNormAdaptiveLearningRate,
    GradientNormLearningRate,
    LossDrivenSchedule,
    RectifiedWarmup,
    UntunedExponentialWarmup,
    UntunedLinearWarmup,
    WarmupStableDecay,
)
from tests.core import problems

UNTUNED = [UntunedLinearWarmup, UntunedExponentialWarmup, RectifiedWarmup]
CONSTANT = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5)


def _rates(schedule, steps):
    return [float(schedule(keras.ops.convert_to_tensor(k, "int32"))) for k in range(steps)]


def _trapezoid(k, peak, total, warmup, decay, final):
    if k < warmup:
        return peak * (k + 1) / warmup
    if k > total - decay:
        return peak - (peak - final) * (k - total + decay) / decay
    return peak


def _tolerance(floatx, backend):
    # On PyTorch Keras' minimum and maximum answer in float32 whatever floatx says.
    return 1e-12 if floatx == "float64" and backend != "torch" else 2e-6


@pytest.mark.parametrize(("warmup", "decay"), [(0, 0), (20, 0), (0, 20), (20, 20), (50, 50)])
def test_trapezoid_follows_the_formula(floatx, warmup, decay, backend):
    schedule = WarmupStableDecay(3e-3, 100, warmup, decay, final_learning_rate=1e-5)
    want = [_trapezoid(k, 3e-3, 100, warmup, decay, 1e-5) for k in range(100)]
    # After the run: as it ended.
    want += [1e-5 if decay else 3e-3] * 10
    np.testing.assert_allclose(_rates(schedule, 110), want, rtol=_tolerance(floatx, backend))
    fractions = WarmupStableDecay(3e-3, 100, warmup / 100, decay / 100, final_learning_rate=1e-5)
    assert fractions.get_config() == schedule.get_config()


@pytest.mark.parametrize("warmup", [1, 7])
def test_trapezoid_is_that_of_optax_one_update_later(warmup):
    optax = pytest.importorskip("optax", reason="the peer's formula needs the package optax")
    theirs = optax.join_schedules(
        [
            optax.linear_schedule(0.0, 0.3, warmup),
            optax.constant_schedule(0.3),
        ],
        [warmup],
    )
    ours = WarmupStableDecay(0.3, 40, warmup_steps=warmup)
    assert float(theirs(0)) == 0.0 < float(ours(0))
    np.testing.assert_allclose(_rates(ours, 40), [float(theirs(k + 1)) for k in range(40)], 1e-6)
    # The decay ends at the same update in both.
    ends = {
        "linear": optax.linear_schedule(0.3, 0.06, 10),
        "cosine": optax.cosine_decay_schedule(0.3, 10, alpha=0.2),
    }
    for kind, end in ends.items():
        ours = WarmupStableDecay(0.3, 40, 0, 10, final_learning_rate=0.06, decay_type=kind)
        np.testing.assert_allclose(
            _rates(ours, 50)[30:], [float(end(k)) for k in range(20)], rtol=1e-6
        )


def test_square_root_decay():
    schedule = WarmupStableDecay(1.0, 20, 0, 10, final_learning_rate=0.2, decay_type="1-sqrt")
    want = [0.2 + 0.8 * (1 - math.sqrt(u / 10)) for u in range(11)]
    np.testing.assert_allclose(_rates(schedule, 21)[10:], want, rtol=1e-6)


def test_durations_in_fractions_and_epochs():
    for total in range(1, 60):
        for warmup in (0.0, 0.1, 0.3, 0.5, 1.0):
            schedule = WarmupStableDecay(1.0, total, warmup, 1.0 - warmup)
            assert abs(schedule.warmup_steps - warmup * total) <= 0.5
            assert abs(schedule.decay_steps - (1 - warmup) * total) < 1.0
            assert schedule.warmup_steps + schedule.decay_steps <= total
    # The type decides: one update, or the whole run.
    assert WarmupStableDecay(1.0, 10, 1).warmup_steps == 1
    assert WarmupStableDecay(1.0, 10, 1.0).warmup_steps == 10
    assert WarmupStableDecay(1.0, 10, np.int64(3)).warmup_steps == 3
    schedule = WarmupStableDecay.from_epochs(
        1.0, epochs=6, steps_per_epoch=7, warmup_epochs=1.5, decay_epochs=2, steps_per_update=2
    )
    assert (schedule.total_steps, schedule.warmup_steps, schedule.decay_steps) == (21, 5, 7)
    assert schedule.steps_per_update == 2


def test_trapezoid_in_fit_takes_the_epochs_that_were_asked_for():
    """The last update is the last of the decay, with batches counted by Keras itself."""
    schedule = WarmupStableDecay.from_epochs(
        0.1, epochs=4, steps_per_epoch=4, warmup_epochs=1, decay_epochs=1
    )
    model = problems.mlp(keras.optimizers.SGD(schedule))
    problems.fit(model, epochs=4)
    taken = int(model.optimizer.iterations)
    assert taken == schedule.total_steps == 16
    assert float(schedule(taken - 1)) == pytest.approx(0.025)
    assert float(schedule(taken)) == 0.0


@pytest.mark.parametrize("wrap", [*UNTUNED, lambda r, **k: WarmupStableDecay(r, 10, 3, 4, **k)])
def test_micro_batches_of_one_update_share_its_rate(wrap):
    plain, micro = wrap(1.0), wrap(1.0, steps_per_update=3)
    assert _rates(micro, 30) == [float(plain(i // 3)) for i in range(30)]


@pytest.mark.parametrize("beta_2", [0.95, 0.999])
@pytest.mark.parametrize("base", [0.3, CONSTANT], ids=["float", "schedule"])
def test_untuned_warmups_multiply_the_base(beta_2, base, floatx, backend):
    steps = 50
    peak = [base] * steps if isinstance(base, float) else [0.5 ** (1 + k / 10) for k in range(50)]
    t = np.arange(1.0, steps + 1)
    limit = 2 / (1 - beta_2) - 1
    length = np.maximum(limit - 2 * t * beta_2**t / (1 - beta_2**t), 5.0)
    rectified = np.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
    # Keras' own schedules compute in float32 whatever floatx says.
    tolerance = 2e-6 if base is CONSTANT else max(1e-9, _tolerance(floatx, backend))
    for kind, factor in [
        (UntunedLinearWarmup, np.minimum(1, (1 - beta_2) * t / 2)),
        (UntunedExponentialWarmup, -np.expm1(-(1 - beta_2) * t)),
        (RectifiedWarmup, rectified),
    ]:
        np.testing.assert_allclose(_rates(kind(base, beta_2), steps), factor * peak, tolerance)


def test_rectified_adam_is_that_of_pytorch():
    """From the update on from which RAdam rectifies, the steps are those of `torch.optim.RAdam`."""
    torch = pytest.importorskip("torch", reason="the peer's optimizer needs the package torch")
    rate, beta_1, beta_2, epsilon = 0.125, 0.875, 1 - 2.0**-8, 2.0**-20
    gradients = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    theirs = torch.zeros(3, requires_grad=True)
    peer = torch.optim.RAdam([theirs], lr=rate, betas=(beta_1, beta_2), eps=epsilon)
    ours = keras.Variable(np.zeros(3, "float32"))
    optimizer = keras.optimizers.Adam(
        RectifiedWarmup(rate, beta_2), beta_1=beta_1, beta_2=beta_2, epsilon=epsilon
    )
    before = None
    for k, gradient in enumerate(gradients):
        old = theirs.detach().numpy().copy(), keras.ops.convert_to_numpy(ours).copy()
        theirs.grad = torch.tensor(gradient)
        peer.step()
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [ours])
        steps = theirs.detach().numpy() - old[0], keras.ops.convert_to_numpy(ours) - old[1]
        limit = 2 / (1 - beta_2) - 1
        if limit - 2 * (k + 1) * beta_2 ** (k + 1) / (1 - beta_2 ** (k + 1)) > 5:
            before = k if before is None else before
            np.testing.assert_allclose(steps[1], steps[0], rtol=1e-3, atol=1e-6)
    assert before == 5


@pytest.mark.parametrize("kind", [*UNTUNED, WarmupStableDecay], ids=lambda kind: kind.__name__)
def test_runs_in_the_compiled_step_and_is_saved(kind, tmp_path):
    def schedule():
        return kind(0.05, 8, 4) if kind is WarmupStableDecay else kind(0.05, 0.95)

    by_step = problems.fit(problems.mlp(keras.optimizers.Adam(schedule())), epochs=1)
    # The same numbers, assigned from outside.
    model = problems.mlp(keras.optimizers.Adam(0.05))
    x, y = problems.data()
    for k in range(4):
        model.optimizer.learning_rate = float(schedule()(k))
        model.train_on_batch(x[8 * k : 8 * k + 8].astype("float32"), y[8 * k : 8 * k + 8])
    assert problems.largest_difference(by_step, model.get_weights()) < 1e-5
    model = problems.mlp(LossAware(keras.optimizers.SGD(LossAdaptiveLearningRate(schedule(), 2.0))))
    problems.fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert problems.largest_difference(problems.fit(loaded), problems.fit(model)) == 0.0


@pytest.mark.parametrize(
    "schedule",
    [
        WarmupStableDecay(1e-2, 10, 2, 3, 1e-4, 5, "1-sqrt"),
        UntunedLinearWarmup(CONSTANT, 0.9, 2),
        UntunedExponentialWarmup(0.1, 0.9, 2),
        RectifiedWarmup(UntunedLinearWarmup(0.1), 0.9, 2),
        GradientNormLearningRate(1.0, 2.0),
        GradientNormAdaptiveLearningRate(WarmupStableDecay(1e-2, 10, 2), 2.0),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_serialises_under_the_package_name(schedule):
    data = keras.optimizers.schedules.serialize(schedule)
    assert data["registered_name"] == f"keras_h0h1>{type(schedule).__name__}"
    twin = keras.optimizers.schedules.deserialize(copy.deepcopy(data))
    assert type(twin) is type(schedule)
    assert keras.optimizers.schedules.serialize(twin) == data
    if not isinstance(schedule, LossDrivenSchedule):
        assert _rates(twin, 9) == _rates(schedule, 9)


def test_a_configuration_from_before_the_schedule_was_public_still_loads():
    old = {
        "module": "recipes.common.schedules",
        "class_name": "WarmupStableDecay",
        "config": {
            "peak_learning_rate": 0.01,
            "total_steps": 10,
            "warmup_steps": 2,
            "decay_steps": 3,
            "final_learning_rate": 1e-5,
            "steps_per_update": 1,
        },
        "registered_name": "keras_h0h1>WarmupStableDecay",
    }
    schedule = keras.optimizers.schedules.deserialize(old)
    want = [_trapezoid(k, 0.01, 10, 2, 3, 1e-5) for k in range(10)]
    np.testing.assert_allclose(_rates(schedule, 10), want, rtol=2e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_norm_rule_follows_the_norm_of_all_gradients(compiled):
    """Two variables, one norm; clipping comes after, and a huge loss changes nothing."""
    optimizer = LossAware(keras.optimizers.SGD(GradientNormLearningRate(2.0, 0.5), clipnorm=1e6))
    first, second = keras.Variable([1.0, 2.0]), keras.Variable([[3.0]])
    optimizer.build([first, second])
    assert float(optimizer.effective_learning_rate) == 0.5
    gradients = [keras.ops.convert_to_tensor([2.0, 3.0]), keras.ops.convert_to_tensor([[6.0]])]
    if compiled and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.function(lambda: optimizer.apply(gradients, [first, second], loss=1e30))()
    else:
        optimizer.apply(gradients, [first, second], loss=1e30)
    # The norm of (2, 3, 6) is 7.
    rate = 1 / (2 + 0.5 * 7)
    assert float(optimizer.effective_learning_rate) == pytest.approx(rate, rel=1e-6)
    assert float(optimizer.learning_rate_factor) == pytest.approx(2 * rate, rel=1e-6)
    np.testing.assert_allclose(first.numpy() if hasattr(first, "numpy") else first,
                               [1 - 2 * rate, 2 - 3 * rate], rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(keras.ops.convert_to_numpy(second), [[3 - 6 * rate]], rtol=1e-6)


@pytest.mark.parametrize("scheduled", [False, True])
def test_gradient_norm_rule_with_a_base_rate(scheduled):
    """base / (1 + norm / c): the base is the cap; a number can be set, a schedule is followed."""
    base = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.125])
    schedule = GradientNormAdaptiveLearningRate(base if scheduled else 0.5, 2.0)
    optimizer = LossAware(keras.optimizers.SGD(schedule))
    weight, position = keras.Variable([1.0, 1.0]), np.ones(2)
    for k, gradient in enumerate(([3.0, 4.0], [0.0, 0.0], [60.0, 80.0])):
        if k and not scheduled:
            optimizer.learning_rate = 0.125
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight], loss=1.0)
        rate = (0.125 if k else 0.5) / (1.0 + np.hypot(*gradient) / 2.0)
        assert float(optimizer.effective_learning_rate) == pytest.approx(rate, rel=1e-6)
        position -= rate * np.array(gradient)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), position, rtol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        {"peak_learning_rate": 0.0},
        {"peak_learning_rate": "fast"},
        {"total_steps": 0},
        {"warmup_steps": -1},
        {"warmup_steps": 1.5},
        {"warmup_steps": float("nan")},
        {"warmup_steps": "10%"},
        {"warmup_steps": True},
        {"warmup_steps": 6, "decay_steps": 5},
        {"warmup_steps": 6, "decay_steps": 0.5},
        {"warmup_steps": 0.5, "decay_steps": 0.6},
        {"final_learning_rate": float("nan")},
        {"steps_per_update": 0},
        {"decay_type": "exponential"},
    ],
)
def test_bad_arguments_of_the_trapezoid(bad):
    with pytest.raises((TypeError, ValueError), match=r"Received: "):
        WarmupStableDecay(**{"peak_learning_rate": 1.0, "total_steps": 10, **bad})


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: UntunedLinearWarmup("fast"), TypeError),
        (lambda: UntunedLinearWarmup(-1.0), ValueError),
        (lambda: UntunedLinearWarmup(LossAdaptiveLearningRate(0.1, 2.0)), TypeError),
        (lambda: UntunedExponentialWarmup(0.1, 1.0), ValueError),
        (lambda: UntunedExponentialWarmup(0.1, 0.9, 0), ValueError),
        (lambda: RectifiedWarmup(0.1, 0.6), ValueError),
        (lambda: GradientNormLearningRate(0.0, 0.0), ValueError),
        (lambda: GradientNormLearningRate(-1.0, 1.0), ValueError),
        (lambda: GradientNormAdaptiveLearningRate(0.1, 0.0), ValueError),
        (lambda: GradientNormAdaptiveLearningRate(LossAdaptiveLearningRate(0.1), 1.0), TypeError),
        (lambda: WarmupStableDecay.from_epochs(0.1, 2, 5, 1.5, 1.0), ValueError),
        (lambda: WarmupStableDecay.from_epochs(0.1, 1, 2, steps_per_update=3), ValueError),
    ],
)
def test_bad_arguments(make, error):
    with pytest.raises(error, match=r"Received: "):
        make()
