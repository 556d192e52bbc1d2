"""The study of the evidence: workloads, methods, and the rounds that follow from one another."""

import dataclasses
import math

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("the trials of the study run on JAX alone", allow_module_level=True)

from benchmarks.quality import data, digit_strings, evidence, records, rounds, studies, trial
from benchmarks.quality.methods import ADAPTIVE_GD, LINEAR, NONE, PAPER, Method
from benchmarks.quality.schedule_free import ScheduleFree
from benchmarks.quality.trial import Program
from benchmarks.quality.variants import varied
from benchmarks.quality.workload import EVIDENCE, load_workload, workload_names
from benchmarks.quality.workloads import contrastive, ctc
from keras_h0h1 import LossAware
from keras_h0h1.schedules import NormConstrainedLearningRate
from recipes.common.command_line.errors import InputError
from tests.benchmarks.test_quality import TINY, UPDATES, _course, _fit

SGD = dataclasses.replace(TINY, optimizer=lambda s: keras.optimizers.SGD(s, momentum=0.9))
NEW = [name for name in workload_names() if load_workload(name).kind == EVIDENCE]
SCAN_RATES = studies.GRID[4:11]


@pytest.fixture
def pieces(monkeypatch):
    """Random pieces in place of those of the source, whose tokenizer takes seconds to train."""
    ids = np.random.default_rng(0).integers(0, 512, size=9000).astype(np.int32)
    monkeypatch.setattr(data, "code_pieces", lambda vocabulary: (ids, ids))


@pytest.mark.parametrize("name", NEW)
def test_a_new_workload_is_what_it_says(name, pieces):
    found = load_workload(name)
    batches, again = found.training(3, 2), found.training(3, 2)
    other = found.training(4, 2)
    held_out = found.held_out()
    for array, same, different, fixed in zip(batches, again, other, held_out, strict=True):
        assert len(array) == 2
        np.testing.assert_array_equal(array, same)
        assert array.shape[2:] == fixed.shape[2:]
        assert array.dtype == different.dtype == fixed.dtype
    assert not np.array_equal(batches[0], other[0])
    model = found.model(3)
    model.compile(found.optimizer(1e-3), **found.compile())
    losses = [model.test_on_batch(*(a[0][:16] for a in found.held_out())) for _ in range(1)]
    loss = losses[0][0] if isinstance(losses[0], list) else losses[0]
    assert math.isfinite(loss) and loss > 0.5 * found.trivial_loss() > 0.0


@pytest.mark.parametrize("workload", (TINY, SGD), ids=("Adam", "SGD"))
def test_every_method_trains(workload, monkeypatch):
    monkeypatch.setattr(rounds, "load_workload", lambda name: workload)
    methods = evidence.EVIDENCE.methods_of("tiny")
    families = {method.family: method for method in methods}
    expected = {"none", "linear", "auto", "self-tuned", "self-tuned-2"}
    if workload is TINY:
        expected |= {"untuned-linear", "radam", "schedule-free", "momo-adam", "ngn-md"}
        expected |= {"norm-constrained"}
    else:
        expected |= {"adaptive-gd"}
    assert set(families) == expected
    for method in families.values():
        result = Program(workload, method).run(method, 0.01, seed=3, updates=UPDATES)
        values = np.concatenate([np.ravel(value) for value in result["weights"]])
        assert np.isfinite(values).all() and np.isfinite(result["losses"]).all(), method
        assert result["final"]["loss"] != result["initial"]["loss"], method


def test_the_rule_for_given_norms_is_the_librarys():
    method = Method("norm-constrained", {"fraction": 0.4})
    result = Program(TINY, method).run(method, 0.1, seed=3, updates=UPDATES)
    peak_gap = 0.4 * result["losses"][0]
    rule = NormConstrainedLearningRate(_course(0.1, UPDATES), peak_gap, decay=False)
    losses, _ = _fit(TINY, LossAware(TINY.optimizer(rule)), 3, UPDATES)
    np.testing.assert_allclose(result["losses"], losses, rtol=1e-5)
    assert result["factors"][0] == pytest.approx(0.01, rel=1e-4)


def _authors_schedule_free(weight, gradients, rate, warmup, beta_1, beta_2, eps, decay):
    """The authors' algorithm in float64, with equal weights of all updates in the average."""
    z, x, v = weight.copy(), weight.copy(), np.zeros_like(weight)
    y = weight.copy()
    for k, gradient in enumerate(gradients, start=1):
        step = rate * min(k / warmup, 1.0)
        g = gradient(y)
        v = beta_2 * v + (1 - beta_2) * g**2
        z = z - step * (g / (np.sqrt(v / (1 - beta_2**k)) + eps) + decay * y)
        x = (1 - 1 / k) * x + z / k
        y = (1 - beta_1) * z + beta_1 * x
    return x, y


def test_schedule_free_is_its_authors_algorithm():
    rng = np.random.default_rng(0)
    start, targets = rng.normal(size=4), rng.normal(size=(12, 4))
    optimizer = ScheduleFree(
        0.1, beta_1=0.9, beta_2=0.95, epsilon=1e-7, warmup_steps=0, weight_decay=0.3
    )
    weight = keras.Variable(start.astype("float32"))
    optimizer.build([weight])
    for target in targets:
        optimizer.apply([keras.ops.convert_to_tensor(weight) - target.astype("float32")], [weight])
    gradients = [lambda y, target=target: y - target for target in targets]
    x, y = _authors_schedule_free(start, gradients, 0.1, 1, 0.9, 0.95, 1e-7, 0.3)
    np.testing.assert_allclose(weight, y, rtol=1e-4)
    values = [variable.value for variable in optimizer.variables]
    (averages,) = optimizer.averages([weight.value], values)
    np.testing.assert_allclose(averages, x, rtol=1e-4)


def test_schedule_free_is_evaluated_at_its_averages():
    method = evidence.SCHEDULE_FREE
    program = Program(TINY, method)
    assert isinstance(program.optimizer, ScheduleFree)
    result = program.run(method, 0.1, seed=3, updates=20)
    model = TINY.model(3)
    model.compile(**TINY.compile())
    for variable, value in zip(model.trainable_variables, result["weights"], strict=True):
        variable.assign(value)
    x, y = (a.reshape(-1, *a.shape[2:]) for a in TINY.held_out())
    expected = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)["loss"]
    assert result["final"]["loss"] == pytest.approx(expected, rel=1e-5)


def test_adaptive_gd_has_no_rate():
    assert ADAPTIVE_GD.rates((1.0, 2.0, 3.0)) == (2.0,)
    program = Program(SGD, ADAPTIVE_GD)
    weights = [program.run(ADAPTIVE_GD, rate, 3, 4)["weights"] for rate in (0.1, 10.0)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_contrastive_loss_in_numpy():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(5, 2, 7))
    codes /= np.linalg.norm(codes, axis=-1, keepdims=True)
    views = codes.transpose(1, 0, 2).reshape(10, 7)
    expected = []
    for i in range(5):
        terms = []
        for view, partner in ((i, i + 5), (i + 5, i)):
            others = [math.exp(views[view] @ views[j] / 0.2) for j in range(10) if j != view]
            terms.append(-math.log(math.exp(views[view] @ views[partner] / 0.2) / sum(others)))
        expected.append(np.mean(terms))
    found = contrastive.contrastive_loss(None, codes.astype("float32"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_view_is_a_part_of_its_image():
    images = np.arange(28 * 28, dtype=np.uint8).reshape(1, 28, 28, 1) // 2
    cut = contrastive.views(images, np.random.default_rng(1))
    assert cut.shape == (1, 2, 20, 20, 1) and not np.array_equal(cut[0, 0], cut[0, 1])
    assert cut.max() <= images.max()


def test_ctc_loss_by_counting_alignments():
    # Even logits, so alignments are equally likely: 1-2, 12-, -12, 112, 122 in three columns.
    labels = np.array([[1, 2, 0, 0, 0]])
    found = ctc.ctc_loss(labels, np.zeros((1, 3, 11), np.float32))
    np.testing.assert_allclose(found, [-math.log(5 / 11**3)], rtol=1e-5)


def test_strings_of_digits_show_their_digits():
    digits = np.array([[3, -1, 7]])
    picture = digit_strings.row_of_images("training", digits, np.random.default_rng(0))
    assert picture.shape == (1, 8, 24, 1)
    known = digit_strings._by_digit("training")
    for place, digit in ((0, 3), (2, 7)):
        part = picture[0, :, 8 * place : 8 * place + 8, 0]
        assert any(np.array_equal(part, image) for image in known[digit])
    assert not picture[0, :, 8:16].any()


def test_variants(pieces):
    base = load_workload("gpt_code")
    quarter, four = varied(base, "batch=0.25"), varied(base, "batch=4")
    np.testing.assert_array_equal(quarter.training(0, 3)[0], base.training(0, 3)[0][:, :4])
    assert four.training(0, 3)[0].shape == (3, 64, 32)
    assert varied(base, "length=4").updates == 1600
    assert varied(base, "depth=0.25").model(0).count_params() < base.model(0).count_params()
    assert load_workload("gpt_code@width=4").name == "gpt_code@width=4"
    gpu = varied(base, "gpu")
    assert gpu.updates == 1600 and gpu.training(0, 2)[0].shape == (2, 128, 32)
    for change in ("batch=0.3", "height=2", "depth=0.1"):
        with pytest.raises(ValueError, match="Received"):
            varied(base, change).training(0, 2)


# The rounds, on a workload that is not trained: scores by a formula.


def _write(folder, method, rate, seed, loss, updates=UPDATES):
    entry = trial.Trial("tiny", method, rate, seed, updates)
    identity = {
        "workload": "tiny",
        "version": 1,
        "method": method.family,
        "constants": method.constants,
        "rate": rate,
        "seed": seed,
        "updates": updates,
    }
    record = {
        "identity": identity,
        "name": method.name,
        "final_loss": loss,
        "initial_loss": 5.0,
        "trivial_loss": 3.0,
        "diverged": not math.isfinite(loss),
        "seconds": 1.0,
        "processor_seconds": 1.0,
        "environment": {"processor": "p", "versions": {}},
    }
    records.write(records.path_of(entry, folder), record)


@pytest.fixture
def study(monkeypatch, tmp_path):
    """A study of the tiny workload whose scan is best at the middle rate."""
    work = dataclasses.replace(TINY, rates=SCAN_RATES[1:-1])
    for module in (rounds, studies, trial):
        monkeypatch.setattr(module, "load_workload", lambda name: work)
    scan = tmp_path / "scan"
    for method in (NONE, LINEAR[2]):
        for place, rate in enumerate(SCAN_RATES):
            _write(scan, method, rate, studies.SCAN_SEED, 1.0 + 0.1 * abs(place - 4))
    core = (NONE, *LINEAR[:2], PAPER[0])
    headline = ((NONE,), LINEAR[:2], (PAPER[0],))
    return rounds.RoundStudy(("tiny",), core, (), headline, scan=scan)


def test_the_grid_is_centred_on_the_scans_best(study):
    assert study.grid("tiny", NONE) == studies.GRID[5:12]
    incomplete = dataclasses.replace(study, scan=study.scan / "none")
    with pytest.raises(InputError, match="run scan --workloads tiny"):
        incomplete.grid("tiny", NONE)


def test_rounds_choose_what_a_hand_computation_says(study, tmp_path):
    folder = tmp_path / "results"
    grid = study.grid("tiny", NONE)
    # Seed 0: none is best at place 2, linear-5 at the first, linear-10 at the last place.
    best = {"none": 2, "linear-5": 0, "linear-10": 6, PAPER[0].name: 3}
    cells = study.round_a(["tiny"])
    assert len(cells) == 4 * 7 and {seed for *_, seed in cells} == {0}
    for _, method, rate, seed in cells:
        place = grid.index(rate)
        loss = 1.0 + 0.1 * abs(place - best[method.name])
        _write(folder, method, rate, seed, math.nan if place == 6 and method == NONE else loss)
    results = rounds.Results(folder, UPDATES)
    assert results.scores["tiny", "none", grid[6], 0] == 3.0  # diverged: the trivial predictor
    chosen = study.round_b(["tiny"], results)
    by_method = {}
    for _, method, rate, seed in chosen:
        by_method.setdefault(method.name, set()).add((grid.index(rate), seed))
    expected = {"none": (1, 2, 3), "linear-5": (0, 1), "linear-10": (5, 6)}
    expected[PAPER[0].name] = (2, 3, 4)
    for name, places in expected.items():
        assert by_method[name] == {(place, seed) for place in places for seed in (1, 2)}
    assert study.round_c(["tiny"], results) == []  # Nothing before round B.
    for _, method, rate, seed in chosen:
        # With more seeds none is best one place higher: (1.1 + 2 * 0.9) / 3 < (1.0 + 2 * 1.0) / 3,
        # and linear-5 beats linear-10.
        place = grid.index(rate)
        loss = {"none": 0.9 if place == 3 else 1.0, "linear-5": 0.8 + 0.1 * place}
        _write(folder, method, rate, seed, loss.get(method.name, 1.2))
    results = rounds.Results(folder, UPDATES)
    by_method = {}
    for _, method, rate, seed in study.round_c(["tiny"], results):
        by_method.setdefault(method.name, set()).add((grid.index(rate), seed))
    # PAPER[0]: (1.0 + 2.4) / 3 at place 3 against (1.1 + 2.4) / 3 beside it.
    expected = {"none": (3, 4), "linear-5": (0, 1), PAPER[0].name: (3, 4)}
    assert by_method == {
        name: {(place, seed) for place in places for seed in range(5)}
        for name, places in expected.items()
    }
    # What round C adds does not change what it chooses.
    for _, method, rate, seed in study.round_c(["tiny"], results):
        if (("tiny", method.name, rate, seed)) not in results.scores:
            _write(folder, method, rate, seed, 0.1)
    again = study.round_c(["tiny"], rounds.Results(folder, UPDATES))
    assert again == study.round_c(["tiny"], results)


def test_a_kill_recomputes_nothing(study, tmp_path, monkeypatch):
    folder, ran = tmp_path / "results", []
    original = studies.record

    def kills(one, program):
        if len(ran) == 5:
            raise KeyboardInterrupt
        ran.append(one)
        return original(one, program)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(studies, "record", kills)
        study.run(folder, updates=2)
    monkeypatch.setattr(studies, "record", lambda t, p: ran.append(t) or original(t, p))
    assert study.run(folder, updates=2, minutes=0.0) == 4 * 7 - 5
    assert study.run(folder, updates=2) == 0
    assert len(ran) == len(set(map(repr, ran))) == len(records.read(folder))
    rounds_done = [len(queue) for _, queue in study.queues(folder, updates=2)]
    assert rounds_done[0] == 28 and all(rounds_done)
    before = len(ran)
    assert study.run(folder, updates=2) == 0 and len(ran) == before


# The situations.


def test_new_data_is_code_and_then_english():
    found = load_workload("new_data")
    x, _ = found.training(3, 5)
    np.testing.assert_array_equal(x[:2], load_workload("dev_char_gpt").training(3, 2)[0])
    np.testing.assert_array_equal(x[2:], load_workload("fine_tuning").training(3, 3)[0])
    assert not np.array_equal(found.held_out()[0], found.other_held_out()[0])


def test_labels_are_corrupted_in_one_batch_of_a_hundred():
    (x, y), (clean_x, clean_y) = (
        load_workload(name).training(3, 600) for name in ("corrupted_labels", "vit")
    )
    np.testing.assert_array_equal(x, clean_x)
    changed = np.flatnonzero((y != clean_y).any(axis=1))
    assert 2 <= len(changed) <= 14 and changed.min() >= 50
    # A label drawn at random is the true one in a tenth of the cases.
    assert 0.75 < (y != clean_y)[changed].mean() < 1.0


def test_a_lost_state_goes_on_with_other_batches_of_the_same_text():
    found, before = load_workload("lost_state"), load_workload("dev_char_gpt")
    assert not np.array_equal(found.training(3, 2)[0], before.training(3, 2)[0])
    np.testing.assert_array_equal(found.held_out()[0], before.held_out()[0])
    assert found.start is load_workload("fine_tuning").start


def test_a_second_warm_up_and_a_second_loss():
    work = dataclasses.replace(TINY, other_held_out=lambda: TINY.training(9, 2))
    method = Method("linear-again", {"percent": 20})
    result = Program(work, method).run(method, 0.1, seed=3, updates=20)
    np.testing.assert_allclose(result["factors"][:12], [0.25, 0.5, 0.75, *[1.0] * 7, 0.25, 0.5])
    model = TINY.model(3)
    model.compile(**TINY.compile())
    for variable, value in zip(model.trainable_variables, result["weights"], strict=True):
        variable.assign(value)
    x, y = (a.reshape(-1, *a.shape[2:]) for a in TINY.training(9, 2))
    expected = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)["loss"]
    assert result["other"] == pytest.approx(expected, rel=1e-5)


def test_a_second_warm_up_is_taken():
    # SGD on a loss that is linear in the weight: each step shows its rate.
    weight = keras.Variable(0.0)
    course = evidence.LINEAR_AGAIN.build(dataclasses.replace(TINY, optimizer=keras.optimizers.SGD))
    course.build([weight])
    values = {"peak_rate": 1.0, "warmup_updates": 4.0, "updates": 20.0}
    for variable in course.variables:
        if variable.name in values:
            variable.assign(values[variable.name])
    positions = [0.0]
    for _ in range(20):
        course.apply([keras.ops.ones(())], [weight])
        positions.append(float(weight))
    warmup = [0.25, 0.5, 0.75]
    expected = [*warmup, *[1.0] * 7, *warmup, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    np.testing.assert_allclose(-np.diff(positions), expected, atol=1e-5)


def test_each_situation_has_the_methods_of_the_protocol():
    study = evidence.SITUATIONS
    core = {method.name for method in (*evidence.CORE, evidence.RETREATING)}
    for name in study.workloads:
        extra = {method.name for method in study.methods_of(name)} - core
        expected = {"new_data": {"linear-again-20"}}
        expected |= {key: {"self-tuned-spike_threshold=3.0"} for key in evidence.CORRUPTED}
        assert extra == expected.get(name, set())
        assert len(study.grid(name, NONE)) == 7
