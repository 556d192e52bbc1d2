"""What the benchmarks share: results with the command that made them, and the clock."""

import importlib
import json
import math
import pkgutil
import sys
import time

import numpy as np
import pytest

import benchmarks
from benchmarks import common
from benchmarks.measuring import Clock, median_and_range
from tests.backends import only_on

pytestmark = only_on("jax", reason="results do not depend on the backend")

# Modules that others measure with; all else is a program.
PARTS = {"common", "measuring", "speed_report", "steps", "suggestions", "workloads"}
PARTS |= {"network_assumptions", "network_instances", "step_families"}
PROGRAMS = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in PARTS]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_benchmark_states_its_command(name):
    module = importlib.import_module(
        f"benchmarks.{name}" + (".__main__" if name == "quality" else "")
    )
    assert f"`python -m benchmarks.{name}" in module.__doc__.splitlines()[0]
    assert callable(module.main)


def test_every_result_says_how_it_was_made():
    files = sorted(common.RESULTS.glob("*.json"))
    assert files
    for path in files:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = [content] if "command" in content else list(content.values())
        for entry in entries:
            assert any(word in entry["command"] for word in ("python -m", "make ")), path.name
            assert entry["environment"]["versions"]["keras"], path.name


@pytest.mark.parametrize(("of_backend", "file"), [(True, "a_jax.json"), (False, "a.json")])
def test_a_result_has_its_command(of_backend, file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/a.py", "--steps=3"])
    path = common.write_result("a", {"x": math.nan, "y": [1.5]}, of_backend)
    assert path == tmp_path / "results" / file and file in capsys.readouterr().out
    content = json.loads(path.read_text())
    assert content["command"] == "KERAS_BACKEND=jax python -m benchmarks.a --steps=3"
    assert content["x"] is None and content["y"] == [1.5]
    assert content["environment"]["backend"] == "jax"


def test_a_row_takes_the_place_of_the_one_with_its_key(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    for steps, row in (
        (1, {"model": "a", "target": "x", "peak": 1}),
        (2, {"model": "a", "target": "y", "peak": 2}),
        (3, {"model": "a", "target": "x", "peak": 3}),
        (4, {"model": "b", "target": "x", "peak": 4, "command": "its own"}),
    ):
        monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/a.py", f"--steps={steps}"])
        path = common.write_row("a", row, ("model", "target"))
    rows = json.loads(path.read_text())["rows"]
    assert [row["peak"] for row in rows] == [2, 3, 4]
    assert [row["command"][-9:] for row in rows] == ["--steps=2", "--steps=3", "its own"[-9:]]


def test_the_clock_waits_for_the_loss_before_it_looks():
    class Late:
        def __float__(self):
            time.sleep(0.05)
            return 2.0

    clock = Clock(every=2)
    start = time.perf_counter()
    for batch in range(6):
        clock.on_train_batch_end(batch, {"loss": Late()})
    assert [(n, loss) for n, _, loss in clock.marks] == [(2, 2.0), (4, 2.0), (6, 2.0)]
    assert clock.marks[0][1] - start >= 0.05 and (clock.durations() >= 0.05).all()
    np.testing.assert_allclose(np.sum(clock.durations()), clock.marks[2][1] - clock.marks[0][1])
    assert median_and_range([4.0, 1.0]) == {"median": 2.5, "range": [1.0, 4.0]}
