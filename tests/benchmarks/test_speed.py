"""The steps that are timed against one another do the same work."""

import json

import keras
import pytest

from benchmarks import speed
from benchmarks.speed_report import write_report
from benchmarks.steps.cases import TINY
from benchmarks.steps.mathematics import same
from benchmarks.steps.programs import COMPARED, PROGRAMS
from benchmarks.steps.worker import Worker


@pytest.mark.parametrize("name", TINY)
def test_the_hand_written_step_does_what_keras_does(name):
    if keras.backend.backend() == "jax":
        pytest.importorskip("optax")
    hand, made = (PROGRAMS[p](TINY[name]) for p in ("hand-written", "keras"))
    found, expected = hand.start()["losses"], made.start()["losses"]
    assert len(found) == COMPARED and same(found, expected), (found, expected)
    # The batches are fitted, so the optimizers moved the weights.
    assert hand.block(4) > 0 and made.block(4) > 0
    assert not same(found, [found[0]] * COMPARED)


def test_the_report_pairs_the_blocks_of_a_round(tmp_path):
    def row(program, seconds):
        return {
            "backend": "jax", "program": program, "first_step_seconds": 1.0,
            "block_seconds": seconds, "memory_bytes": {"at_most": 5e6, "when_built": 4e6},
            "python_calls": 1234.0,
        }  # fmt: skip

    programs = {
        "jax: hand-written": row("hand-written", [1.0, 10.0, 2.0]),
        "jax: keras": row("keras", [2.0, 20.0, 4.0]),
        "jax: keras, loss-driven": row("keras, loss-driven", [2.2, 22.0, 4.4]),
        "jax: keras, as built": row("keras, as built", [3.0, 30.0, 6.0]),
        "jax: input": row("input", [0.1, 0.1, 0.1]),
    }
    result = {
        "case": "resnet8", "units": 64, "unit": "images", "blocks": 3, "steps_in_a_block": 2,
        "load_average_before": 0.26, "programs": programs, "date": "2026-11-28",
        "environment": {"cores": 2, "processor": "A", "versions": {"keras": "3"}},
    }  # fmt: skip
    (tmp_path / "speed_resnet8.json").write_text(json.dumps(result))
    write_report(tmp_path)
    text = (tmp_path / "SPEED.md").read_text()
    # Of the medians, 2 and 4 s, the same; of the loss-driven rate 1.1 times as long, always.
    assert "| jax: keras | 0.500 (0.500 to 0.500) | - | 2,000.0 | 1,234 | 1.0 | 5 |" in text
    assert "Time with the loss-driven rate over without, jax: 1.100 (1.100 to 1.100)." in text
    assert (
        "The recipe's step against KerasHub's layers and Keras' loss, jax: 1.500 (1.500 to 1.500)."
        in text
    )
    assert "load average before they started 0.3." in text


def test_what_the_recipes_change_is_a_program_of_its_own():
    gpt, resnet, vit = (TINY[name] for name in ("gpt", "resnet", "vit"))
    for backend in speed.BACKENDS:
        on_torch = backend == "torch"
        assert speed.AS_BUILT in speed.programs(backend, gpt)
        assert (speed.AS_BUILT in speed.programs(backend, vit)) != on_torch
        assert speed.programs(backend, resnet) == speed.STEPS
        added = set(speed.programs(backend, gpt, True)) - set(speed.programs(backend, gpt))
        assert added == (set(speed.COMPILED) if on_torch else set())


def test_compiling_without_pytorch_is_refused(capsys):
    with pytest.raises(SystemExit):
        speed.main(["--backends", "jax", "--torch-compile"])
    assert "Received: torch_compile=True, backends=jax" in capsys.readouterr().err


def test_steps_that_differ_are_refused():
    rows = {
        "a": {"program": "hand-written", "losses": [7.0, 6.9]},
        "b": {"program": "keras", "losses": [7.0, 6.8]},
    }
    with pytest.raises(RuntimeError, match="do not do the same work"):
        speed._check(rows)
    rows["b"]["program"] = "keras, loss-driven"
    speed._check(rows)


def test_a_worker_answers_and_ends():
    """The whole of it, as its own process; the pipeline alone, for it compiles nothing."""
    worker = Worker(keras.backend.backend(), "input", "gpt")
    assert worker.ask("start")["losses"] is None
    assert worker.ask("3") > 0
    assert worker.ask("memory")["at_most"] > 0
    # A step of it makes hundreds.
    assert 10 < worker.ask("calls") < 1e5
    worker.close()
    assert worker.process.returncode == 0
