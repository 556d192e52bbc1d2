"""Rates by layer: each group moves as if it had an optimizer of its own with its own base rate."""

import copy

import keras
import numpy as np
import pytest

from keras_h0h1 import (
    LossAdaptiveLearningRate,
    LossAware,
    LossScaleOptimizer,
    SmoothnessLearningRate,
)
from keras_h0h1.callbacks import LearningRateLogger
from keras_h0h1.optimizers import Layerwise
from keras_h0h1.schedules import GradientNormLearningRate, ScaledLearningRate, simulate
from tests.core import problems

LOSSES = [9.0, 6.0, 5.0, 1.0]


def _variables():
    return [
        keras.Variable([1.0, -1.0], name="embedding"),
        keras.Variable([0.5], name="block_1"),
        keras.Variable([2.0, 0.25, 3.0], name="head"),
    ]


def _gradients(k):
    rng = np.random.default_rng(k)
    values = [rng.normal(size=n).astype("float32") for n in (2, 1, 3)]
    return [keras.ops.convert_to_tensor(value) for value in values]


def _schedule(base=0.1):
    return LossAdaptiveLearningRate(base, C=4.0)


def _run(optimizer, variables, pick=(0, 1, 2)):
    for k, loss in enumerate(LOSSES):
        gradients = _gradients(k)
        optimizer.apply([gradients[i] for i in pick], variables, loss=loss)
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def test_each_group_has_a_multiple_of_the_base_rate_and_the_same_factor():
    optimizer = keras.optimizers.SGD(_schedule())
    optimizer = LossAware(Layerwise(optimizer, {"emb.*": 0.25, "block_1": 0.5}))
    variables = _variables()
    before = [keras.ops.convert_to_numpy(v) for v in variables]
    optimizer.apply(_gradients(0), variables, loss=8.0)
    for state, multiplier in zip(optimizer.rate_states, (0.25, 0.5, 1.0), strict=True):
        assert float(state.base_rate()) == pytest.approx(0.1 * multiplier, rel=1e-6)
        assert float(state.factor()) == 0.5
        assert float(state.rate()) == pytest.approx(0.05 * multiplier, rel=1e-6)
    for old, new, gradient, rate in zip(
        before, variables, _gradients(0), (0.0125, 0.025, 0.05), strict=True
    ):
        moved = old - rate * keras.ops.convert_to_numpy(gradient)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(new), moved, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda schedule: keras.optimizers.AdamW(schedule, weight_decay=0.1),
        lambda schedule: keras.optimizers.SGD(schedule, momentum=0.9, clipnorm=0.5),
        lambda schedule: keras.optimizers.RMSprop(schedule, use_ema=True, ema_momentum=0.5),
    ],
    ids=["AdamW", "SGD", "RMSprop"],
)
def test_a_group_moves_as_with_an_optimizer_of_its_own(make):
    together = _variables()
    optimizer = make(_schedule())
    optimizer.exclude_from_weight_decay(var_names=["head"])
    optimizer = LossAware(Layerwise(optimizer, {"emb.*": 0.25, ".*": 4.0}, None))
    got = _run(optimizer, together)
    for group, multiplier in (([0], 0.25), ([1, 2], 4.0)):
        own = make(_schedule(0.1 * multiplier))
        # On PyTorch Keras stops where an optimizer has nothing to decay, so not of each group.
        own.exclude_from_weight_decay(var_names=["head"])
        alone = _run(LossAware(own), [_variables()[i] for i in group], pick=group)
        for i, expected in zip(group, alone, strict=True):
            np.testing.assert_allclose(got[i], expected, rtol=1e-6)
    optimizer.finalize_variable_values(together)


OPTIONS = {
    "global_clipnorm": {"global_clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.1},
    "EMA": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    "accumulation": {"gradient_accumulation_steps": 2, "clipnorm": 0.5},
    "weight decay": {"weight_decay": 0.1},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_multipliers_of_one_change_nothing(options):
    bare = LossAware(keras.optimizers.Adam(_schedule(), **options))
    ours = LossAware(Layerwise(keras.optimizers.Adam(_schedule(), **options), {"block_1": 1.0}))
    for expected, got in zip(_run(bare, _variables()), _run(ours, _variables()), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_multipliers_of_one_change_nothing_in_fit():
    """Bit for bit: the norm of all gradients clips, not that of each group's own."""
    arguments = {"global_clipnorm": 0.5, "weight_decay": 0.1}
    bare = LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(0.05, C=2.0), **arguments))
    ours = keras.optimizers.Adam(LossAdaptiveLearningRate(0.05, C=2.0), **arguments)
    ours = LossAware(Layerwise(ours, {"kernel": 1.0}))
    expected = problems.fit(problems.mlp(bare), epochs=1)
    assert problems.largest_difference(problems.fit(problems.mlp(ours), epochs=1), expected) == 0.0
    # A wrapper's options are read as those of the optimizer inside.
    assert ours.global_clipnorm == 0.5


@pytest.mark.parametrize("scale", [None, 64.0])
def test_the_norm_of_all_gradients_clips(scale):
    """A fixed loss scale is taken out before: the gradients (3, 4) * 8 have norm 40, then 1."""
    sgd = keras.optimizers.SGD(
        LossAdaptiveLearningRate(1.0, C=4.0), global_clipnorm=1.0, loss_scale_factor=scale
    )
    optimizer = LossAware(Layerwise(sgd, {"a": 0.5}))
    a, b = keras.Variable([0.0], name="a"), keras.Variable([0.0], name="b")
    gradients = [keras.ops.convert_to_tensor([g * (scale or 1.0)]) for g in (24.0, 32.0)]
    optimizer.apply(gradients, [a, b], loss=8.0)
    assert float(a[0]) == pytest.approx(-0.5 * 0.5 * 0.6, rel=1e-6)
    assert float(b[0]) == pytest.approx(-0.5 * 0.8, rel=1e-6)


MULTIPLIERS = {"bias": 2.0, "dense/.*": 0.5, "second/.*|top/.*": 0.1}


def _fitted(scaled=False):
    base = keras.optimizers.schedules.CosineDecay(0.05, 30)
    schedule = LossAdaptiveLearningRate(base, C=2.0, smoothing=0.5, latch=True)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01, global_clipnorm=1.0)
    optimizer = LossAware(
        Layerwise(optimizer, {"bias": 2.0, "dense/.*": 0.5, "second/.*|top/.*": 0.1}, None)
    )
    return LossScaleOptimizer(optimizer) if scaled else optimizer


def _model(optimizer):
    """`problems.mlp` with names of its own: paths must not depend on the tests before."""
    layers = [
        keras.layers.Dense(8, activation="relu", name="dense"),
        keras.layers.Dense(8, activation="relu", name="second"),
        keras.layers.Dense(3, name="top"),
    ]
    model = keras.Sequential([keras.Input((problems.NUM_FEATURES,)), *layers])
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss)
    return model


@pytest.mark.parametrize("scaled", [False, True])
def test_save_load_continue(scaled, tmp_path):
    straight = _model(_fitted(scaled))
    problems.fit(straight, epochs=1)
    expected = problems.fit(straight, epochs=1)
    model = _model(_fitted(scaled))
    problems.fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inner = loaded.optimizer.inner_optimizer
    inner = inner.inner_optimizer if scaled else inner
    assert type(inner) is Layerwise
    assert inner.multipliers == MULTIPLIERS
    assert problems.largest_difference(problems.fit(loaded, epochs=1), expected) == 0.0


def test_config_round_trip():
    config = keras.optimizers.serialize(_fitted())
    twin = keras.optimizers.deserialize(copy.deepcopy(config))
    assert keras.optimizers.serialize(twin) == config
    assert config["config"]["optimizer"]["config"]["optimizer"]["config"]["global_clipnorm"] == 1.0


def test_a_base_rate_that_was_set_is_that_of_every_group():
    optimizer = LossAware(Layerwise(keras.optimizers.SGD(_schedule()), {"emb.*": 0.25}))
    for state in optimizer.rate_states:
        state.variables["base"].assign(0.4)
    _run(optimizer, _variables())
    assert [float(state.rate()) for state in optimizer.rate_states] == pytest.approx([0.1, 0.4])
    # What is saved is the rate as it is now, unscaled.
    inner = optimizer.inner_optimizer.get_config()["optimizer"]["config"]
    assert inner["learning_rate"]["config"]["base"] == pytest.approx(0.4)


def _plateau(model, epochs):
    """Halves the rate after each epoch but the first, which it compares with."""
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.5, patience=1, min_delta=1e9
    )
    problems.fit(model, epochs=epochs, callbacks=[callback])


@pytest.mark.parametrize("multipliers", [{"bias": 0.3}, {"bias": 0.3, "kernel": 0.1}])
def test_the_learning_rate_is_the_base_rate_of_all_groups(multipliers):
    """Read, assigned, set and reduced as that of the plain optimizer."""
    plain = problems.mlp(keras.optimizers.SGD(0.05))
    default = None if "kernel" in multipliers else 1.0
    sgd = keras.optimizers.SGD(LossAdaptiveLearningRate(0.05, C=2.0))
    model = problems.mlp(LossAware(Layerwise(sgd, multipliers, default)))
    for one in (plain, model):
        one.optimizer.learning_rate.assign(0.04)
        _plateau(one, epochs=4)
    expected = float(keras.ops.convert_to_numpy(plain.optimizer.learning_rate))
    assert expected == pytest.approx(0.04 / 8, rel=1e-6)
    optimizer = model.optimizer
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == expected
    for state, multiplier in zip(
        optimizer.rate_states, optimizer.inner_optimizer.multipliers.values(), strict=True
    ):
        assert float(state.base_rate()) == pytest.approx(multiplier * expected, rel=1e-6)
    effective = float(optimizer.effective_learning_rate)
    assert effective == pytest.approx(expected * float(optimizer.learning_rate_factor), rel=1e-6)
    assert optimizer.get_config()["learning_rate"] == pytest.approx(expected)
    optimizer.C = 3.0
    assert {float(state.C) for state in optimizer.rate_states} == {3.0}


def test_a_base_that_follows_a_schedule_is_read_without_multiplier():
    base = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    optimizer = LossAware(Layerwise(keras.optimizers.SGD(_schedule(base)), {"emb.*": 0.25}))
    _run(optimizer, _variables())
    assert float(optimizer.learning_rate) == pytest.approx(0.1 * 0.5**4)
    # Of the last step, at a loss below C.
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.1 * 0.5**3)
    with pytest.raises(TypeError, match=r"Received: learning_rate=0.3"):
        optimizer.learning_rate = 0.3


def test_the_logger_has_one_row_for_all_groups():
    logger = LearningRateLogger()
    optimizer = keras.optimizers.SGD(LossAdaptiveLearningRate(0.05, C=2.0))
    model = problems.mlp(LossAware(Layerwise(optimizer, {"bias": 0.3, "kernel": 0.1}, None)))
    problems.fit(model, callbacks=[logger])
    run = simulate(LossAdaptiveLearningRate(0.05, C=2.0), logger)
    assert set(logger.history) == {"step", "batch_loss", "learning_rate", "learning_rate_factor",
                                   "effective_learning_rate"}  # fmt: skip
    for name in logger.history:
        np.testing.assert_allclose(logger.history[name], getattr(run, name), rtol=1e-6)


def test_rules_of_the_theory_are_multiplied_too():
    for schedule in (
        SmoothnessLearningRate(0.5, 0.25, rule="envelope"),
        GradientNormLearningRate(0.5, 0.25),
    ):
        run = simulate(schedule, LOSSES, [4.0, 3.0, 2.0, 0.5])
        scaled = simulate(ScaledLearningRate(schedule, 0.3), LOSSES, [4.0, 3.0, 2.0, 0.5])
        np.testing.assert_allclose(
            scaled.effective_learning_rate, 0.3 * run.effective_learning_rate, rtol=1e-6
        )
        np.testing.assert_allclose(scaled.learning_rate, 0.3 * run.learning_rate, rtol=1e-6)
        np.testing.assert_allclose(scaled.learning_rate_factor, run.learning_rate_factor)


@pytest.mark.parametrize(
    ("multipliers", "default", "message"),
    [
        ({"embedding_2": 0.5}, 1.0, "'embedding_2', which is not"),
        # Not a part of a name, but all of it.
        ({"emb": 0.5}, 1.0, "'emb', which is not"),
        ({"ding": 0.5}, 1.0, "'ding', which is not"),
        ({".*": 0.5, "head": 0.1}, None, "'head', which is not"),
        ({"embedding": 0.5}, None, r"no expression for \['block_1', 'head'\]"),
        ({".*": 0.5}, 1.0, "pass `default=None`"),
    ],
)
def test_expressions_without_variables_and_variables_without_expression(
    multipliers, default, message
):
    optimizer = LossAware(Layerwise(keras.optimizers.SGD(_schedule()), multipliers, default))
    with pytest.raises(ValueError, match=f"Received: .*{message}|{message}.* Received: "):
        optimizer.build(_variables())


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Layerwise(keras.optimizers.SGD(0.1), {"a": 1.0}), TypeError),
        (lambda: Layerwise(LossAware(keras.optimizers.SGD(_schedule())), {"a": 1.0}), TypeError),
        (lambda: Layerwise("sgd", {"a": 1.0}), TypeError),
        (lambda: Layerwise(keras.optimizers.SGD(_schedule()), {}), TypeError),
        (lambda: Layerwise(keras.optimizers.SGD(_schedule()), 0.5), TypeError),
        (lambda: Layerwise(keras.optimizers.SGD(_schedule()), {"a": "b"}), TypeError),
        (lambda: Layerwise(keras.optimizers.SGD(_schedule()), {"a": -1.0}), ValueError),
        (lambda: Layerwise(keras.optimizers.SGD(_schedule()), {"a(": 1.0}), ValueError),
        (lambda: Layerwise(keras.optimizers.SGD(_schedule()), {"a": 1.0}, -1.0), ValueError),
        (
            lambda: Layerwise(
                keras.optimizers.SGD(
                    _schedule(), global_clipnorm=1.0, gradient_accumulation_steps=2
                ),
                {"a": 1.0},
            ),
            ValueError,
        ),
        (
            lambda: Layerwise(
                keras.optimizers.SGD(
                    GradientNormLearningRate(1.0, 1.0), gradient_accumulation_steps=2
                ),
                {"a": 1.0},
            ),
            ValueError,
        ),
        (lambda: ScaledLearningRate(0.1, 2.0), TypeError),
        (lambda: ScaledLearningRate(_schedule(), float("inf")), ValueError),
    ],
)
def test_bad_arguments(make, error):
    with pytest.raises(error, match=r"Received: "):
        make()


def test_an_expression_may_leave_out_the_layers_around():
    model = _model("sgd")
    kernel = model.get_layer("second").kernel
    assert kernel.path.endswith("/second/kernel") and kernel.path != "second/kernel"
    for expression, index in {
        "second/kernel": 0, "second/.*": 0, "kernel": 0, ".*": 0, kernel.path: 0,
        "second": 1, "ond/kernel": 1, "second/ker": 1,
    }.items():  # fmt: skip
        choice = Layerwise(keras.optimizers.SGD(_schedule()), {expression: 0.5})._optimizer_map
        assert choice.index(kernel.path) == index, expression


def test_an_optimizer_with_state_is_refused():
    optimizer = keras.optimizers.SGD(_schedule())
    optimizer.build(_variables())
    with pytest.raises(ValueError, match=r"must not be built.*Received: "):
        Layerwise(optimizer, {"head": 1.0})
