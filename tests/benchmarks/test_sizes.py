"""The study of three sizes: its queues follow from one another, the report adds up."""

import dataclasses

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("the trials of the study run on JAX alone", allow_module_level=True)

from benchmarks.quality import language_models, networks, records, rounds, sizes, sizes_report
from benchmarks.quality import trial as trials
from benchmarks.quality.methods import NONE
from benchmarks.quality.trial import Program
from benchmarks.quality.workload import SIZE, load_workload, workload_names
from recipes.common.command_line.errors import InputError
from tests.benchmarks.test_quality import TINY, _course

NAMES = sizes.SIZES.workloads


def test_the_sizes_are_what_they_are_called():
    assert sorted(NAMES) == sorted(n for n in workload_names() if load_workload(n).kind == SIZE)
    for name, millions in zip(NAMES, (1.1, 3.0, 10.0), strict=True):
        work = load_workload(name)
        assert f"{millions:g} million" in work.description
        width, depth = work.model.keywords["width"], work.model.keywords["depth"]
        vocabulary = language_models.VOCABULARY
        # Embedding, blocks with their biases and norms, the last norm, head.
        block = 12 * width**2 + 13 * width  # 4 d^2 + 4 d, 8 d^2 + 5 d, and two norms of 2 d.
        head = (width + 1) * vocabulary
        parameters = vocabulary * width + depth * block + 2 * width + head
        assert parameters == pytest.approx(1e6 * millions, rel=0.06)
    small = networks.language_model(0, 11, 6, width=8, depth=2, normalise="pre")
    assert small.count_params() == 11 * 8 + 2 * (12 * 64 + 13 * 8) + 16 + 9 * 11


def test_evaluations_along_the_run_change_nothing():
    """Those of a run in stretches are those of the weights at that update."""
    whole = Program(TINY, NONE).run(NONE, 0.1, seed=3, updates=5)
    parts = Program(dataclasses.replace(TINY, evaluations=3), NONE)
    found = parts.run(NONE, 0.1, seed=3, updates=5)
    np.testing.assert_array_equal(found["losses"], whole["losses"])
    assert found["final"] == whole["final"]
    assert [update for update, _ in found["evaluations"]] == [2, 4, 5]
    assert found["evaluations"][-1][1] == whole["final"]["loss"]
    assert whole["evaluations"] == []
    model = TINY.model(3)
    model.compile(TINY.optimizer(_course(0.1, 5)), **TINY.compile())
    x, y = (a[:2].reshape(-1, *a.shape[2:]) for a in TINY.training(3, 5))
    model.fit(x, y, batch_size=len(x) // 2, shuffle=False, verbose=0)
    x, y = (a.reshape(-1, *a.shape[2:]) for a in TINY.held_out())
    loss = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    assert found["evaluations"][0][1] == pytest.approx(loss, rel=1e-5)


@pytest.fixture
def tiny(monkeypatch):
    """Each size is a workload for tests."""

    def load(name):
        return dataclasses.replace(TINY, name=name, evaluations=2, description="for tests")

    for module in (rounds, trials, sizes_report):
        monkeypatch.setattr(module, "load_workload", load)


def _write(folder, trial, loss):
    record = {
        "identity": trial.identity(),
        "name": trial.method.name,
        "final_loss": loss,
        "initial_loss": 8.0,
        "trivial_loss": 7.0,
        "diverged": False,
        "held_out_losses": [(3, 5.0), (5, loss)],
        "factors": [0.1, 0.5, 1.0, 1.0, 1.0],
        "processor_seconds": 3600.0,
        "environment": {"versions": {"keras": "3"}, "processor": "a processor"},
    }
    records.write(records.path_of(trial, folder), record)


def test_the_rate_is_chosen_then_all_methods_are_compared_there(tmp_path, tiny):
    (letter, queue), (_, nothing) = sizes.SIZES.queues(tmp_path)
    assert letter == "rate"
    assert {trial.seed for trial in queue} == {99} and nothing == []
    with pytest.raises(InputError, match="no results"):
        sizes_report.write_report(tmp_path, tmp_path / "REPORT.md")
    for trial in queue:  # Best at 3e-3, a size at 1e-2.
        best = 1e-2 if trial.workload == NAMES[2] else 3e-3
        _write(tmp_path, trial, 2.0 + abs(np.log(trial.rate / best)))
    _, (letter, queue) = sizes.SIZES.queues(tmp_path)
    assert letter == "compare"
    count = len(sizes.METHODS)
    assert len(queue) == 3 * (2 * count + count)
    first = [t for t in queue if t.workload == NAMES[0]]
    assert {(t.rate, t.seed) for t in first} == {(3e-3, 0), (3e-3, 1), (1e-2, 0)}
    last = [t for t in queue if t.workload == NAMES[2]]
    assert {(t.rate, t.seed) for t in last} == {(1e-2, 0), (1e-2, 1), (3e-2, 0)}
    losses = {"none": 2.2, "linear-10": 2.0, "self-tuned": 1.9}
    for trial in queue:
        _write(tmp_path, trial, losses.get(trial.method.name, 2.1) + 0.01 * trial.seed)
    path = sizes_report.write_report(tmp_path, tmp_path / "REPORT.md")
    text = path.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| self-tuned rule"))
    # exp(1.905) = 6.72; 1.9 / 2 and 1.91 / 2.01.
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["1.9050", "6.7", "-5.00, -4.98"]
    assert "| none | 2.2050 | 9.1 | +10.00, +9.95 |" in text
    assert (tmp_path / sizes_report.FIGURE).stat().st_size > 10_000
