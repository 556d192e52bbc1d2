"""`suggest` against closed forms, its record, its errors, the data it takes, the callback."""

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest

from keras_h0h1 import AdaptiveGD, LossAdaptiveLearningRate, LossAware
from keras_h0h1.callbacks import SuggestLearningRate
from keras_h0h1.suggestion import suggest
from keras_h0h1.suggestion._batches import training_batches

from .models import classifier, data, regression


def features(condition, seed=0, examples=32, size=4):
    """A matrix whose covariance has eigenvalues from 3 / condition to 3."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(examples, size)))[0]
    right = np.linalg.qr(rng.normal(size=(size, size)))[0]
    return np.sqrt(examples) * left * np.sqrt(np.geomspace(3 / condition, 3, size)) @ right


@pytest.mark.parametrize("condition", [1, 30])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradient_descent_on_a_quadratic(condition, momentum):
    optimizer = keras.optimizers.SGD(0.01, momentum=momentum)
    model, arrays, hessian = regression(features(condition), optimizer)
    limit = 2 * (1 + momentum) / np.linalg.eigvalsh(hessian)[-1]
    suggestion = suggest(model, *arrays)
    assert suggestion.sharpness_at_start.largest_stable_rate == pytest.approx(limit, rel=0.02)
    # Momentum moves the weights by a sum of ten gradients, long before it is unstable.
    assert limit / (100 if momentum else 10) < suggestion.base < limit


def test_adams_threshold():
    # At the first weights the gradient is H w and the second moment its square: P = |H w|.
    start = np.array([1.0, -2.0, 0.5, 3.0])
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-9)
    model, arrays, hessian = regression(features(10), optimizer, start)
    P = np.abs(hessian @ start)
    sharpness = np.linalg.eigvalsh(hessian / np.sqrt(np.outer(P, P)))[-1]
    suggestion = suggest(model, *arrays)
    # The weights have moved by 16 steps of 1e-6.
    assert suggestion.sharpness_at_start.value == pytest.approx(sharpness, rel=0.02)
    assert suggestion.marks["stable_at_start"] == pytest.approx(38 / sharpness, rel=0.02)
    assert suggestion.base < 38 / sharpness
    # Twice, and with the same seed: the same.
    again = suggest(model, *arrays)
    np.testing.assert_allclose(again.losses, suggestion.losses, rtol=1e-3)
    assert again.base == pytest.approx(suggestion.base)


def test_the_cost_is_counted_as_it_goes():
    """Products count as two steps, updates as one; a bar that follows never goes back."""
    seen = []
    model, arrays, _ = regression(features(3), keras.optimizers.SGD(0.25))
    suggestion = suggest(model, *arrays, progress=lambda done, total: seen.append((done, total)))
    done = [count for count, _ in seen]
    assert all(total == 100 for _, total in seen)
    assert {after - before for before, after in itertools.pairwise(done)} == {1, 2}
    # 16 windows, one more update than there are rates, and at most 12 products.
    updates = 16 + 1 + len(suggestion.rates)
    assert updates < done[-1] <= min(100, updates + 24) and done[0] == 1
    assert suggestion.training_steps > updates


def test_the_record(tmp_path):
    model, arrays, _ = regression(features(3), keras.optimizers.SGD(0.25))
    x, y = arrays
    f0 = 0.5 * float(np.mean((x.sum(1)) ** 2))
    suggestion = suggest(
        model, x, y, steps=50, sharpness=False, rates=(1e-3, 100.0), relative=True, f_star=-1.0
    )
    assert suggestion.initial_loss == pytest.approx(f0, rel=0.05)
    assert suggestion.C == pytest.approx((suggestion.initial_loss + 1.0) / 2)
    assert suggestion.optimizer == "SGD" and suggestion.present_rate == 0.25
    assert suggestion.rates[0] == pytest.approx(0.25e-3)
    assert suggestion.batches == 16 and suggestion.sharpness_at_start is None
    assert suggestion.reasons[-1] == "the sharpness was not measured, as asked for"
    # The self-tuned rule with its own exponent, unless a number is asked for.
    assert (
        suggestion.schedule(smoothing=0.5).get_config()
        == LossAdaptiveLearningRate(suggestion.base, f_star=-1.0, smoothing=0.5).get_config()
    )
    assert (
        suggestion.schedule(smoothing=0.5, C=suggestion.C).get_config()
        == LossAdaptiveLearningRate(
            suggestion.base, C=suggestion.C, f_star=-1.0, rho=suggestion.rho, smoothing=0.5
        ).get_config()
    )
    text = str(suggestion)
    assert f"{suggestion.base:.2g}" in text and all(reason in text for reason in suggestion.reasons)
    written = json.loads(json.dumps(suggestion.to_dict(), allow_nan=False))
    assert written["base"] == suggestion.base and len(written["rates"]) == len(suggestion.rates)
    axes = suggestion.plot(tmp_path / "suggestion.png")
    assert (tmp_path / "suggestion.png").read_bytes().startswith(b"\x89PNG")
    assert axes.get_xscale() == "log"
    with pytest.raises(dataclasses.FrozenInstanceError):
        suggestion.base = 1.0
    with pytest.raises(ValueError, match="read-only"):
        suggestion.rates[0] = 1.0
    without = dataclasses.replace(suggestion, C=None)
    with pytest.raises(ValueError, match="lower bound on the loss as `f_star`"):
        without.schedule(C=without.C)
    assert without.schedule().C == "auto" and without.schedule(C=2.0).rho == suggestion.rho
    assert "there is none" in str(without)


class OwnStep(keras.Model):
    """A `train_step` of its own; the loss is twice the compiled one."""

    key = "loss"

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")

    def call(self, x):
        return self.dense(x)

    def train_step(self, *arguments):
        if keras.backend.backend() == "jax":
            logs, state = super().train_step(*arguments)
            return {self.key: 2 * logs["loss"]}, state
        logs = super().train_step(*arguments)
        return {self.key: 2 * logs["loss"]}


def test_a_train_step_of_its_own():
    x = np.ones((32, 1), "float32")
    model = OwnStep()
    model.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    suggestion = suggest(model, x, 0 * x, steps=50)
    assert suggestion.initial_loss == pytest.approx(2.0, rel=0.01)
    assert "`train_step` of its own" in suggestion.reasons[-1]
    model.key = "something"
    with pytest.raises(ValueError, match=r"whose 'loss' is the loss.*Received: \{'something'"):
        suggest(model, x, 0 * x, steps=50)


def test_accumulation_takes_whole_updates():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model, arrays, hessian = regression(features(3), optimizer)
    suggestion = suggest(model, *arrays, batch_size=16, steps=50, sharpness=False)
    assert suggestion.batches == 32
    assert suggestion.base < 2 / np.linalg.eigvalsh(hessian)[-1] * 2


def test_errors():
    model, (x, y), _ = regression(features(3), keras.optimizers.SGD(0.1))

    def refuses(kind, message, model=model, x=x, y=y, **options):
        with pytest.raises(kind, match=message):
            suggest(model, x, y, **{"steps": 50, "sharpness": False, **options})

    refuses(ValueError, "`steps` must be >= 37.*Received: steps=36", steps=36)
    refuses(ValueError, "`steps` must be >= 61", steps=60, sharpness=True)
    refuses(TypeError, "`rates` must be a pair", rates=0.1)
    refuses(ValueError, "span a factor 10", rates=(0.1, 0.2))
    refuses(ValueError, r"`rates\[0\]` must be", rates=(-1.0, 0.2))
    refuses(ValueError, "'auto', True or False", sharpness="yes")
    refuses(ValueError, "stop_factor", stop_factor=1.0)
    refuses(ValueError, "not finite before the rate has grown", x=np.nan * x)
    refuses(ValueError, "neither fell nor rose", rates=(1e-12, 1e-10))
    refuses(ValueError, "must be compiled", model=keras.Sequential([keras.layers.Dense(1)]))
    adaptive, _, _ = regression(features(3), AdaptiveGD(H0=1.0, H1=1.0))
    refuses(ValueError, "no rate to suggest", model=adaptive)
    if hasattr(keras.optimizers, "MultiOptimizer"):
        several = keras.optimizers.MultiOptimizer(lambda variable: keras.optimizers.SGD(0.1))
        together, _, _ = regression(features(3), several)
        refuses(ValueError, "several rates", model=together)


def test_no_threshold_is_known_for_lion():
    model, arrays, _ = regression(features(3), keras.optimizers.Lion(0.1))
    assert "Lion" in suggest(model, *arrays, steps=50).reasons[-1]


class Sequence(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def test_every_kind_of_batches():
    x = np.arange(24.0, dtype="float32").reshape(12, 2)
    batches = [(x[i : i + 4], x[i : i + 4, 0]) for i in (0, 4)] + [(x[8:11], x[8:11, 0])]
    kinds = [batches, Sequence(batches), lambda: iter(batches)]
    try:
        import tensorflow as tf

        kinds.append(tf.data.Dataset.from_tensor_slices((x[:11], x[:11, 0])).batch(4))
    except ImportError:
        pass
    for kind in kinds:
        # The last one, which is shorter, is left out; then from the beginning.
        taken = list(itertools.islice(training_batches(kind), 5))
        assert [batch[0][0, 0] for batch in taken] == [0, 8, 0, 8, 0]
        assert taken[0][2] is None
    for arrays in ((x, x[:, 0]), ((x, x[:, 0]), None)):
        taken = list(itertools.islice(training_batches(*arrays, batch_size=5, seed=3), 2))
        rows = np.concatenate([batch[0] for batch in taken])
        assert len(np.unique(rows[:, 0])) == 10
        assert all((batch[0][:, 0] == batch[1]).all() for batch in taken)


def test_weights_and_refused_data():
    x, y = data(8)
    weights = np.linspace(0, 1, 8)
    _, labels, of_examples = next(training_batches(x, y, weights))
    assert of_examples.shape == (8,) and of_examples.dtype == np.float32
    classes = {0: 2.0, 1: 0.5}
    expected = np.array([2.0, 0.5, 1.0])
    _, labels, of_classes = next(training_batches(x, y, class_weight=classes))
    np.testing.assert_array_equal(of_classes, expected[labels])
    one_hot = np.eye(3)[y]
    _, labels, of_classes = next(training_batches(x, one_hot, class_weight=classes))
    np.testing.assert_array_equal(of_classes, labels @ expected)
    with pytest.raises(ValueError, match="no sample weights"):
        next(training_batches(x, y, weights, class_weight=classes))
    with pytest.raises(TypeError, match="generator could not be put back"):
        training_batches(iter([(x, y)]))
    with pytest.raises(ValueError, match="`batch_size` goes with arrays"):
        training_batches([(x, y)], batch_size=4)
    with pytest.raises(ValueError, match="same number of examples"):
        next(training_batches(x, y[:-1]))
    with pytest.raises(ValueError, match="holds no batch"):
        next(training_batches([]))


def test_the_callback(capsys, tmp_path):
    histories = []
    for finds in (False, True):
        keras.utils.set_random_seed(1)
        x, y = data()
        model = classifier("adam")
        finder = SuggestLearningRate(
            x, y, path=tmp_path / "s.png", batch_size=16, steps=50, sharpness=False
        )
        callbacks = [finder] if finds else []
        histories.append(
            model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=callbacks).history["loss"]
        )
    np.testing.assert_allclose(*histories, rtol=1e-5)
    assert str(finder.suggestion) in capsys.readouterr().out
    assert (tmp_path / "s.png").exists()
    # Once; a later fit goes on without.
    first = finder.suggestion
    model.fit(x, y, batch_size=16, verbose=0, callbacks=[finder])
    assert finder.suggestion is first


@pytest.mark.parametrize("aware", [False, True])
def test_the_callback_applies(aware):
    rate = LossAdaptiveLearningRate(1e-5, C=1.0) if aware else 1e-5
    optimizer = keras.optimizers.SGD(rate)
    model, (x, y), _ = regression(features(3), LossAware(optimizer) if aware else optimizer)
    finder = SuggestLearningRate(x, y, apply=True, verbose=0, steps=50, sharpness=False)
    model.fit(x, y, verbose=0, callbacks=[finder])
    assert float(model.optimizer.learning_rate) == pytest.approx(finder.suggestion.base)
    assert finder.suggestion.present_rate == pytest.approx(1e-5)


def test_the_callback_cannot_set_a_schedule():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model, (x, y), _ = regression(features(3), keras.optimizers.SGD(schedule))
    finder = SuggestLearningRate(x, y, apply=True)
    with pytest.raises(ValueError, match="follows a schedule here"):
        model.fit(x, y, verbose=0, callbacks=[finder])
