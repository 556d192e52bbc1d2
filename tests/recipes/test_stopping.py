"""Signals and divergence: the run ends early, and says how to go on."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest

from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.results.run_folder import RunFolder
from recipes.common.training import loop as training
from recipes.common.training import stopping
from recipes.common.training.signals import StopSignals, noted_interrupts
from recipes.common.training.stopping import lost_message, non_finite_weight
from tests.recipes import tiny


@pytest.fixture(autouse=True, scope="module")
def _no_plots():
    """Half a second in each run, and not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "plot_runs", lambda *args, **kwargs: None)
        yield


@pytest.fixture(autouse=True)
def _signals_are_heard():
    """A shell that starts the tests in the background has them ignore Ctrl-C."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def run(*argv):
    return tiny.RECIPE.main(["--eval-every=4", "--steps=8", *argv])


def state(folder):
    model = load_checkpoint(folder.latest_checkpoint()[0])
    variables = (*model.variables, *model.optimizer.variables)
    return [keras.ops.convert_to_numpy(v.value) for v in variables]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same run, left alone."""
    folder = tmp_path_factory.mktemp("runs")
    run(f"--runs={folder}", "--name=whole")
    return RunFolder(folder / "whole")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
    ids=["SIGTERM", "SIGINT", "SIGHUP"],
)
def test_a_signal_leaves_a_checkpoint(whole, tmp_path, number, code, monkeypatch, capsys, request):
    # `nohup` has a program ignore SIGHUP, which then stays ignored. By default it would end the
    # tests if nothing handled it.
    hangup = signal.signal(signal.SIGHUP, lambda *_: None)
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, hangup))
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    # In the midst of an update: the first of its two micro-batches.
    monkeypatch.setattr(tiny, "hook", lambda k: k == 10 and os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as stopped:
        run(f"--runs={tmp_path}", "--name=r")
    assert stopped.value.code == code
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    folder = RunFolder(tmp_path / "r")
    _, step = folder.latest_checkpoint()
    # TensorFlow asks for batches ahead of time; the update that is under way is finished.
    assert 1 <= step <= 6
    printed = capsys.readouterr().out
    assert f"Stopped by {number.name} after {step} of 8 updates, with a checkpoint" in printed
    assert f"--resume {folder.path}" in printed
    assert not (folder.path / "summary.json").exists()

    monkeypatch.setattr(tiny, "hook", tiny.no_hook)
    assert run(f"--resume={folder.path}")["finished"]
    for one, other in zip(state(folder), state(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("metrics.csv", "evaluations.csv"):
        first, second = (
            [(r["step"], str(r["loss"])) for r in f.read(name)] for f in (folder, whole)
        )
        assert first == second


# (the micro-batch, of four an update, and the updates made before it)
@pytest.mark.parametrize(
    ("patience", "at", "made"),
    [(stopping.PATIENCE, 14, 3), (0.0, 14, 3), (0.0, 10, 2)],
    ids=["short", "long", "long, just after a checkpoint"],
)
def test_a_signal_within_an_update_that_takes_long(
    tmp_path, monkeypatch, capsys, patience, at, made
):
    """Left at the next micro-batch; no part of an update is saved, and what is lost is said."""
    options = ["--gradient-accumulation-steps=4", "--checkpoint-every=2"]
    run(f"--runs={tmp_path}", "--name=whole", *options)
    monkeypatch.setattr(stopping, "PATIENCE", patience)
    real, seen = stopping.Guard.on_train_batch_end, []

    def signalled(guard, batch, logs=None):
        seen.append(batch)
        if len(seen) == at:
            signal.raise_signal(signal.SIGTERM)
        real(guard, batch, logs)

    monkeypatch.setattr(stopping.Guard, "on_train_batch_end", signalled)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(f"--runs={tmp_path}", "--name=r", *options)
    assert stopped.value.code == 143
    folder, printed = RunFolder(tmp_path / "r"), capsys.readouterr().out
    if patience:
        assert len(seen) == 16 and folder.checkpoints.steps() == [4, 2]
        assert "Stopped by SIGTERM after 4 of 8 updates, with a checkpoint." in printed
    else:
        assert len(seen) == at and folder.checkpoints.steps() == [2]
        assert f"Stopped by SIGTERM within update {made + 1} of 8. Lost " in printed
        assert lost_message(made, 2) in printed
        assert [row["step"] for row in folder.read("metrics.csv")] == [1, 2, 3][:made]
    assert run(f"--resume={folder.path}")["finished"]
    for one, other in zip(state(folder), state(RunFolder(tmp_path / "whole")), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_lost_is_counted_from_the_last_checkpoint():
    assert lost_message(3, None).startswith("There is no checkpoint yet")
    assert lost_message(3, 3) == "Lost is the part of the update that was made"
    assert lost_message(4, 3).startswith("Lost are update 4 and")
    assert lost_message(9, 3).startswith("Lost are updates 4 to 9 and")


def test_a_signal_during_an_evaluation(whole, tmp_path, monkeypatch):
    """The evaluation is broken off, and made up for when the run goes on."""
    real, count = keras.Model.evaluate, [0]

    def evaluate(model, *args, **kwargs):
        count[0] += 1
        if count[0] in (1, 3):
            signal.raise_signal(signal.SIGTERM)
        return real(model, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "evaluate", evaluate)
    # Before the first update, then after the fourth.
    for number, step in enumerate((0, 4)):
        with pytest.raises(SystemExit):
            run(*[f"--resume={tmp_path / 'r'}"] if number else [f"--runs={tmp_path}", "--name=r"])
        assert RunFolder(tmp_path / "r").latest_checkpoint()[1] == step
    assert run(f"--resume={tmp_path / 'r'}")["finished"]
    folder = RunFolder(tmp_path / "r")
    for one, other in zip(state(folder), state(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    losses = [
        [(r["step"], str(r["loss"]), r["validation_loss"]) for r in f.read("evaluations.csv")]
        for f in (folder, whole)
    ]
    assert losses[0] == losses[1]


def test_a_second_signal_ends_the_process_at_once():
    script = (
        "import signal, time\n"
        "from recipes.common.training.signals import StopSignals\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with StopSignals() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop.received: time.sleep(0.01)\n"
        "    print('first', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "first\n"
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - start < 30 and process.returncode == -signal.SIGTERM
        assert "SIGINT: stopping; a second signal ends the program at once" in errors
    finally:
        process.kill()


def test_an_interrupt_that_a_compiler_swallows_stops_the_run():
    with noted_interrupts():
        # As Python does with an exception in a callback of C.
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with StopSignals() as stop:
            assert stop.agreed() and stop.received == signal.SIGINT
    with StopSignals() as stop:
        assert not stop.received
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_are_for_the_main_thread_and_ignored_signals_stay_ignored():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def other():
        with StopSignals() as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.received))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [(before, None)]
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.received is None
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_weight_that_is_not_finite_is_found():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    assert non_finite_weight(model) is None
    model.layers[1].bias.assign([np.inf])
    assert non_finite_weight(model) == model.layers[1].bias.path


@pytest.mark.parametrize("what", ["loss", "weight"])
def test_divergence_stops_with_step_checkpoint_and_advice(tmp_path, monkeypatch, capsys, what):
    real = tiny.batches

    def batches(start):
        for k, (x, y) in enumerate(real(start), start):
            if what == "loss" and k == 10:
                # One feature only: TensorFlow's relu turns NaN, as from inf - inf, into 0, and
                # the loss would be finite.
                x[:, 0] = np.inf
            yield x, y

    monkeypatch.setattr(tiny, "batches", batches)
    if what == "weight":
        # No training loss shows this one: the moving variance is used in evaluation alone.
        real_fit, calls = keras.Model.fit, []

        def fit(model, *args, **kwargs):
            result = real_fit(model, *args, **kwargs)
            calls.append(model)
            if len(calls) == 3:
                model.layers[1].moving_variance.assign([np.nan] * 16)
            return result

        monkeypatch.setattr(keras.Model, "fit", fit)
    summary = run(
        *(f"--runs={tmp_path}", "--name=r", "--checkpoint-every=2", "--steps=100"),
        "--schedule=h0h1",
    )
    folder = RunFolder(tmp_path / "r")
    printed = capsys.readouterr().out
    problem = "the loss is not finite" if what == "loss" else "moving_variance is not finite"
    assert "Diverged after 6 updates: " in printed and problem in printed
    assert f"The last good checkpoint is {folder.checkpoints.path_of(4)}" in printed
    assert "lower --peak-lr, a lower --C" in printed
    assert summary["diverged"] and summary["steps"] == 6
    # Stopped there, and not at the next evaluation, after 8.
    assert folder.read("metrics.csv")[-1]["step"] == 6
    assert folder.latest_checkpoint()[1] == 4
    assert all(np.isfinite(v).all() for v in state(folder))
