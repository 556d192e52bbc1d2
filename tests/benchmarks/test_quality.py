"""The study of quality: a trial is what `fit` does, the queue resumes, the report adds up."""

import dataclasses
import json
import os
import pathlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("the trials of the study run on JAX alone", allow_module_level=True)

from benchmarks.quality import choice, noise, records, report, studies, trial, workload
from benchmarks.quality.methods import LINEAR, NONE, UNTUNED, Method
from benchmarks.quality.rates import SharedCourse
from benchmarks.quality.trial import Program, Trial
from benchmarks.quality.workloads import vae
from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from keras_h0h1.schedules import WarmupStableDecay
from recipes.common.command_line.errors import InputError

UPDATES, BATCH = 5, 8


def _model(seed):
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(6, "tanh")
    return keras.Sequential([keras.Input((3,)), hidden, keras.layers.Dense(4)])


def _batches(seed, updates):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(updates, BATCH, 3)).astype("float32")
    return x, (3.0 * x.sum(-1) > 0).astype("int32")


def _losses_and_metrics():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return {"loss": loss, "metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]}


TINY = workload.Workload(
    name="tiny",
    kind="development",
    description="for tests",
    version=1,
    updates=UPDATES,
    rates=(0.01, 0.03, 0.1),
    model=_model,
    optimizer=lambda schedule: keras.optimizers.AdamW(schedule, weight_decay=0.1),
    training=_batches,
    held_out=lambda: _batches(7, 2),
    trivial_loss=lambda: float(np.log(2)),
    compile=_losses_and_metrics,
    metric="accuracy",
)


@pytest.fixture
def tiny(monkeypatch):
    """The workload above among the others; its data are made here."""
    for module in (studies, trial):
        monkeypatch.setattr(module, "load_workload", lambda name: TINY)
    return TINY


class _Losses(keras.callbacks.Callback):
    """The loss of each batch, from the running mean that `fit` hands over."""

    def __init__(self):
        super().__init__()
        self.values, self.sum = [], 0.0

    def on_train_batch_end(self, batch, logs=None):
        total = logs["loss"] * (batch + 1)
        self.values.append(total - self.sum)
        self.sum = total


def _fit(work, optimizer, seed, updates):
    """The same training by Keras' `fit`: losses of the batches, held-out loss."""
    model = work.model(seed)
    model.compile(optimizer, **work.compile())
    losses = _Losses()
    x, *y = (a.reshape(-1, *a.shape[2:]) for a in work.training(seed, updates))
    size = len(x) // updates
    model.fit(x, *y, batch_size=size, shuffle=False, verbose=0, callbacks=[losses])
    x, *y = (a.reshape(-1, *a.shape[2:]) for a in work.held_out())
    return losses.values, model.evaluate(x, *y, batch_size=BATCH, verbose=0, return_dict=True)


def _course(rate, updates, warmup=0):
    decay = round(0.2 * updates)
    return WarmupStableDecay(rate, updates, warmup, decay, final_learning_rate=0.0)


def test_a_trial_is_what_fit_does():
    method = Method("linear", {"percent": 40})
    result = Program(TINY, method).run(method, 0.1, seed=3, updates=UPDATES)
    optimizer = TINY.optimizer(_course(0.1, UPDATES, warmup=2))
    losses, held_out = _fit(TINY, optimizer, 3, UPDATES)
    np.testing.assert_allclose(result["losses"], losses, rtol=1e-5)
    np.testing.assert_allclose(result["final"]["loss"], held_out["loss"], rtol=1e-5)
    assert result["final"]["accuracy"] == pytest.approx(held_out["accuracy"])
    np.testing.assert_allclose(result["factors"], [0.5, 1, 1, 1, 1], rtol=1e-6)


def test_the_rule_in_units_of_the_first_loss_is_the_librarys():
    method = Method("auto", {"fraction": 0.8, "rho": 2.0})
    program = Program(TINY, method)
    result = program.run(method, 0.1, seed=3, updates=UPDATES)
    constant = 0.8 * result["losses"][0]
    rule = LossAdaptiveLearningRate(_course(0.1, UPDATES), C=constant, rho=2.0)
    losses, _ = _fit(TINY, LossAware(TINY.optimizer(rule)), 3, UPDATES)
    np.testing.assert_allclose(result["losses"], losses, rtol=1e-5)
    expected = 1.0 / np.maximum(1.0, (np.array(losses) / constant) ** 2)
    np.testing.assert_allclose(result["factors"], expected, rtol=1e-4)
    # Another seed and rate in the same program: its first loss is another one.
    other = program.run(method, 0.01, seed=4, updates=UPDATES)
    assert other["losses"][0] != result["losses"][0]
    assert other["factors"][0] == pytest.approx(0.8**2, rel=1e-4)


def test_a_rate_that_retreats_is_what_a_loop_says():
    updates, threshold, recovery = 80, 2.0, 40.0

    def flipped(seed, updates):
        x, y = _batches(seed, updates)
        y[35:50] = 1 - y[35:50]  # What it has learnt is wrong for a while: the loss rises.
        return x, y

    work = dataclasses.replace(TINY, training=flipped)
    constants = {"fraction": 1.0, "rho": 2.0, "min_steps": 5.0, "patience": 10.0}
    constants |= {"threshold": threshold, "recovery": recovery}
    method = Method("retreating", constants)
    result = Program(work, method).run(method, 0.03, seed=3, updates=updates)
    losses, cap, caps = result["losses"], 1.0, []
    fast = slow = square = 0.0
    difference = _deviation_of_the_averages(np.random.default_rng(0).normal(size=200_000))
    for k, loss in enumerate(losses, start=1):
        before = fast / (1 - 0.96 ** (k - 1)) if k > 1 else loss
        square = 0.99 * square + 0.01 * (loss - before) ** 2
        fast, slow = 0.96 * fast + 0.04 * loss, 0.99 * slow + 0.01 * loss
        gap = fast / (1 - 0.96**k) - slow / (1 - 0.99**k)
        limit = threshold * difference * np.sqrt(square / (1 - 0.99**k))
        cap = 0.96 * cap if k >= 25 and gap > limit else min(1.0, cap + 1 / recovery)
        caps.append(cap)
    caps = np.array(caps)
    assert caps.min() < 0.7 and (np.diff(caps) > 0).any(), "the run must show both"
    # Released and risen, the factor is the cap wherever the loss is not above the first one.
    settled = (np.arange(updates) > 45) & (losses <= losses[0]) & (caps < 0.99)
    assert settled.sum() > 10
    np.testing.assert_allclose(result["factors"][settled], caps[settled], rtol=2e-3)


def test_noise_lowers_a_cap_that_takes_each_scatter_for_a_rise():
    losses = 3.0 + 0.5 * np.random.default_rng(1).normal(size=(2, 3000))
    constants = {"patience": 100.0, "recovery": 3000.0}
    seldom = noise.mean_cap(Method("retreating", {**constants, "threshold": 4.0}), losses)
    often = noise.mean_cap(Method("retreating", {**constants, "threshold": 0.1}), losses)
    assert seldom > 0.99 and often < 0.05
    constant = np.full((1, 3000), 2.3)  # No scatter: the averages' rounding must not be a rise.
    assert noise.mean_cap(Method("retreating", {**constants, "threshold": 4.0}), constant) == 1.0


def _deviation_of_the_averages(losses):
    fast = slow = 0.0
    values = []
    for value in losses:
        fast, slow = 0.96 * fast + 0.04 * value, 0.99 * slow + 0.01 * value
        values.append(fast - slow)
    return np.std(values[1000:])


def test_a_train_step_of_its_own():
    def images(seed, updates):
        rng = np.random.default_rng(seed)
        return (rng.integers(0, 256, size=(updates, BATCH, 28, 28, 1)).astype("uint8"),)

    work = dataclasses.replace(vae.WORKLOAD, training=images, held_out=lambda: images(7, 1))
    method = Method("auto", {"fraction": 0.9, "rho": 2.0})
    result = Program(work, method).run(method, 0.01, seed=3, updates=UPDATES)
    assert result["losses"][0] > 500.0
    rule = LossAdaptiveLearningRate(_course(0.01, UPDATES), 0.9 * result["losses"][0], rho=2.0)
    losses, _ = _fit(work, LossAware(work.optimizer(rule)), 3, UPDATES)
    np.testing.assert_allclose(result["losses"], losses, rtol=1e-5)


def test_a_run_may_start_from_given_weights():
    weights = [0.5 * value for value in _model(8).get_weights()]
    work = dataclasses.replace(TINY, start=lambda seed: weights)
    result = Program(work, NONE).run(NONE, 0.0, seed=3, updates=2)
    for value, expected in zip(result["weights"], weights, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_constants_that_are_inputs_share_a_program():
    assert NONE.form == LINEAR[0].form == UNTUNED.form
    assert Method("auto", {"fraction": 1, "rho": 1}).form == Method("auto", {"patience": 2}).form
    assert Method("self-tuned", {"C": 1.0}).form != Method("self-tuned", {"C": 2.0}).form


def test_the_shared_course():
    course = SharedCourse()
    optimizer = course.attach(keras.optimizers.SGD(course))
    for variable in optimizer.variables:
        values = {"peak_rate": 2.0, "warmup_updates": 4.0, "updates": 10.0}
        if variable.name in values:
            variable.assign(values[variable.name])
    rates = [float(course(k)) for k in range(11)]
    np.testing.assert_allclose(rates, [0.5, 1, 1.5, 2, 2, 2, 2, 2, 2, 1, 0], atol=1e-6)


def test_untuned_warm_up_is_for_adaptive_optimizers():
    program = Program(TINY, UNTUNED)
    assert UNTUNED.inputs(program.optimizer, 10)["warmup_updates"] == pytest.approx(2000.0)
    plain = dataclasses.replace(TINY, optimizer=keras.optimizers.SGD)
    assert UNTUNED.suits(TINY) and not UNTUNED.suits(plain)


def _queue(rates=(0.01, 0.1)):
    return [Trial("tiny", method, rate, 0) for method in (NONE, LINEAR[3]) for rate in rates]


def test_the_queue_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
    ran = []
    original = studies.record
    monkeypatch.setattr(studies, "record", lambda t, p: ran.append(t) or original(t, p))
    assert studies.run(_queue(), tmp_path, minutes=0.0) == 4 and not ran
    assert studies.run(_queue()[:1], tmp_path) == 0
    assert studies.run(_queue(), tmp_path) == 0
    assert ran == _queue()
    assert studies.run(_queue()[::-1], tmp_path) == 0 and len(ran) == 4
    found = records.read(tmp_path)
    assert len(found) == 4
    assert all(r["final_loss"] < r["initial_loss"] and r["environment"] for r in found)
    # What is not the same trial is run: the workload has changed.
    changed = dataclasses.replace(tiny, version=2)
    monkeypatch.setattr(trial, "load_workload", lambda name: changed)
    assert not records.path_of(_queue()[0], tmp_path).exists()


def test_a_kill_in_a_trial_costs_that_trial(tiny, tmp_path, monkeypatch):
    def fails(trial, program):
        raise KeyboardInterrupt

    studies.run(_queue()[:1], tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(studies, "record", fails)
        studies.run(_queue(), tmp_path)
    assert len(records.read(tmp_path)) == 1


def test_a_run_without_end_counts_as_the_trivial_predictor(tiny, tmp_path):
    blown = Trial("tiny", NONE, 1e30, 0)
    studies.run([blown], tmp_path)
    (found,) = records.read(tmp_path)
    assert found["diverged"]
    assert records.score(found) == found["trivial_loss"]


def _record(name, rate, seed, loss, diverged=False):
    return {
        "identity": {"workload": "w", "rate": rate, "seed": seed, "updates": 5},
        "name": name,
        "final_loss": None if diverged else loss,
        "initial_loss": 5.0,
        "trivial_loss": 3.0,
        "diverged": diverged,
        "seconds": 1.0,
        "processor_seconds": 1.0,
        "environment": {"processor": "p", "versions": {}},
    }


def test_the_rule_of_choice_counts_what_is_complete(tmp_path):
    """Linear warm-up is best at 0.1, so 0.3 is above it and 1.0 two above."""
    losses = {
        "linear-10": {0.1: 1.0, 0.3: 1.1, 1.0: 1.2},
        "none": {0.1: 1.02, 0.3: 1.1, 1.0: 1.17},
        "auto": {0.1: 0.9, 0.3: 1.1},  # Its trial two above is missing.
    }
    for name, by_rate in losses.items():
        for rate, loss in by_rate.items():
            path = tmp_path / "w" / f"{name}-{rate}.json"
            records.write(path, _record(name, rate, 0, loss))
    numbers, missing = choice.costs(tmp_path, (0, 1, 2))
    assert numbers["none"]["w"] == pytest.approx((2.0, 0.0, -2.5))
    assert missing == ["auto"] and "auto" not in numbers
    table = choice.ranking(tmp_path, (0, 1, 2))
    assert table.index("| none |") < table.index("| linear-10 |") < table.index("auto")
    assert (
        "| none | +2.00, +0.00, -2.50 | -0.50 |" in table and "w: best, above, two above" in table
    )
    assert choice.costs(tmp_path, (0, 1))[0]["none"]["w"] == pytest.approx((2.0, 0.0))


def test_the_report_from_files_alone(tmp_path):
    fabricated = [
        _record("none", 0.1, 0, 2.0),
        _record("none", 0.1, 1, 2.2),
        _record("none", 0.3, 0, 4.0),  # worse than the trivial predictor: counts as that
        _record("none", 0.3, 1, 0.0, diverged=True),
        _record("linear-5", 0.1, 0, 2.0),
        _record("linear-5", 0.3, 0, 2.5),
        _record("linear-40", 0.1, 0, 2.1),
        _record("linear-40", 0.3, 0, 2.4),
    ]
    for entry in fabricated:
        records.write(tmp_path / f"{records.key(entry)}.json", entry)
    text = report.write_report("develop", tmp_path).read_text()
    assert "| none | 2.1000 | 3.0000 †1 | **2.1000** |" in text
    assert f"| {report.TUNED} | 2.0000 | 2.4000 | **2.0000** |" in text
    assert "| none | +5.00 | +5.00 | +5.00 |" in text  # 2.1 / 2.0
    assert "| none | +25.00 | +25.00 | +25.00 |" in text  # 3.0 / 2.4 at the next rate
    assert "8 trials, 1 of them diverged" in text
    assert (tmp_path / "w.png").stat().st_size > 1000


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.json").write_text(json.dumps({"identity": {}}))
    with pytest.raises(InputError, match=r"a\.json$"):
        records.read(tmp_path)
    (tmp_path / "w" / "a.json").unlink()
    lines = [json.dumps(_record("none", 0.1, 0, 2.0)), '{"identity": {']
    (tmp_path / records.PACKED).write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"Received: line 2 of .*trials\.jsonl$"):
        records.read(tmp_path)


# Packing.


def _write_many(folder, seeds=range(3), names=("none", "linear-5", "linear-40")):
    """Records whose losses have all digits, and one that diverged; as read from their files."""
    for name in names:
        for rate in (0.1, 0.3, 1e-5):
            for seed in seeds:
                rng = np.random.default_rng([seed, len(name), round(1e5 * rate)])
                entry = _record(name, rate, seed, float(rng.normal()), diverged=rng.random() < 0.2)
                entry["factors"] = rng.normal(size=5).tolist()
                records.write(folder / f"{records.key(entry)}.json", entry)
    return records.read(folder)


def test_packed_is_what_the_files_were(tmp_path):
    before = _write_many(tmp_path)
    report.write_report("develop", tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert records.pack(tmp_path) == len(before) == 27
    assert not list(tmp_path.glob("*/*.json"))
    assert records.read(tmp_path) == before
    content = (tmp_path / records.PACKED).read_bytes()
    assert content.count(b"\n") == 27
    report.write_report("develop", tmp_path)
    for name, data in made.items():
        assert (tmp_path / name).read_bytes() == data, name
    assert records.pack(tmp_path) == 0
    # Whatever the order in which the files came, the packed one is the same.
    records_of_two = tmp_path / "two"
    for seed in (2, 0, 1):
        for entry in before:
            if entry["identity"]["seed"] == seed:
                records.write(records_of_two / f"{records.key(entry)}.json", entry)
        records.pack(records_of_two)
    assert (records_of_two / records.PACKED).read_bytes() == content


class _Killed(BaseException):
    pass


def test_packing_may_be_killed_at_any_moment(tmp_path, monkeypatch):
    """Before each change of the disk in turn: nothing is lost, nothing counts twice."""
    for moment in range(1000):
        folder = tmp_path / str(moment)
        _write_many(folder, seeds=(0,), names=("none",))
        records.pack(folder)
        before = _write_many(folder, seeds=(0, 1), names=("none",))
        changes = [0]

        def counted(original, changes=changes, moment=moment):
            def change(*args, **kwargs):
                changes[0] += 1
                if changes[0] > moment:
                    raise _Killed
                return original(*args, **kwargs)

            return change

        with monkeypatch.context() as patch:
            for owner, name in ((os, "replace"), (pathlib.Path, "unlink"), (os, "fsync")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            patch.setattr(pathlib.Path, "write_text", counted(pathlib.Path.write_text))
            try:
                records.pack(folder)
                survived = True
            except _Killed:
                survived = False
        assert records.read(folder) == before, moment
        records.pack(folder)
        assert records.read(folder) == before and not list(folder.glob("*/*.json"))
        names = {path.name for path in folder.iterdir() if path.is_file()}
        assert names == {records.PACKED, ".pack.lock"}
        if survived:
            break
    assert moment > len(before) // 2  # Each file is deleted in a moment of its own.


def test_trials_run_while_they_are_packed(tiny, tmp_path):
    done = threading.Event()

    def pack():
        while not done.is_set():
            records.pack(tmp_path)

    with ThreadPoolExecutor() as threads:
        packed, entries = threads.submit(pack), []
        try:
            for seed in range(150):
                entries.append(_record("none", 0.1, seed, 2.0))
                records.write(tmp_path / f"{records.key(entries[-1])}.json", entries[-1])
                if seed % 10 == 0:
                    assert len(records.read(tmp_path)) == seed + 1
        finally:
            done.set()
        packed.result()
    assert sorted(map(records.key, records.read(tmp_path))) == sorted(map(records.key, entries))


def test_a_packed_trial_is_not_run_again(tiny, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(studies, "record", lambda t, p: ran.append(t) or _of(t))
    monkeypatch.setattr(studies, "Program", lambda *arguments: None)

    def _of(trial):
        return _record(trial.method.name, trial.rate, trial.seed, 2.0) | {
            "identity": trial.identity()
        }

    assert studies.run(_queue()[:2], tmp_path) == 0
    assert records.pack(tmp_path) == 2 and len(ran) == 2
    assert studies.run(_queue(), tmp_path) == 0
    assert ran == _queue()
    assert all(records.exists(t, tmp_path) for t in _queue())
    assert records.pack(tmp_path) == 2 and len(records.read(tmp_path)) == 4


def test_two_results_of_one_trial_are_refused(tmp_path):
    before = _write_many(tmp_path, seeds=(0,))
    records.pack(tmp_path)
    other = before[0] | {"final_loss": 123.0}
    path = tmp_path / f"{records.key(other)}.json"
    records.write(path, other)
    packed = (tmp_path / records.PACKED).read_bytes()
    for function in (records.read, records.pack):
        with pytest.raises(InputError, match=f"another record.*Received: {re.escape(str(path))}$"):
            function(tmp_path)
    assert path.exists() and (tmp_path / records.PACKED).read_bytes() == packed


def test_each_workload_file_describes_itself():
    for name in workload.workload_names():
        found = workload.load_workload(name)
        length = {workload.CORRUPTED: 3, workload.SIZE: 4}.get(found.kind, 5)
        place = studies.GRID.index(found.rates[0])
        assert found.name == name and found.rates == studies.GRID[place : place + length]
