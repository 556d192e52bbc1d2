"""A training process is killed without warning, and the run is resumed.

Twenty kills on PyTorch, where a process is ready soonest, and two on the other backends, which
compile in each process, to stay within the tests' time. The processes are forked from a server
that has imported everything and computed nothing, so that no thread of a backend is lost.
"""

import multiprocessing
import random
import signal
import time

import keras
import numpy as np
import pytest

from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.results.run_folder import RunFolder
from tests.recipes import tiny

EVERY, STEPS = 2, 30


@pytest.fixture
def start(monkeypatch):
    """Starts the tiny recipe in a process; whatever still runs at the end is killed."""
    # No threads in the server; PyTorch's own would make a run of milliseconds slower.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    # Keras and TensorBoard import TensorFlow, where there is one, in the midst of a run.
    context.set_forkserver_preload(["tests.recipes.tiny", "tensorflow", "tensorboard.summary"])
    processes = []

    def start(*argv, **delays):
        process = context.Process(target=tiny.main, args=(list(argv),), kwargs=delays)
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()


def finished(folder):
    """Everything that moves after the last update, and the losses of all."""
    path, step = folder.latest_checkpoint()
    assert step == STEPS
    model = load_checkpoint(path)
    state = [
        keras.ops.convert_to_numpy(v.value) for v in (*model.variables, *model.optimizer.variables)
    ]
    rows = [(row["step"], row["loss"]) for row in folder.read("metrics.csv")]
    evaluations = [
        # As text, in which the first training loss, NaN, equals itself.
        (row["step"], str(row["loss"]), row["validation_loss"])
        for row in folder.read("evaluations.csv")
    ]
    return state, rows, evaluations


def wait_for(process, condition):
    end = time.monotonic() + 120
    while process.is_alive() and not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def whole_lines(path):
    return path.read_text().count("\n") - 1 if path.exists() else 0


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(start, tmp_path, backend):
    kills = 20 if backend == "torch" else 2
    # Evaluations and checkpoints in different rhythms, so that some come together.
    options = [
        f"--runs={tmp_path / 'runs'}", f"--steps={STEPS}", f"--checkpoint-every={EVERY}",
        "--eval-every=15",
    ]  # fmt: skip
    whole = start(*options, "--name=whole")
    whole.join(300)
    assert whole.exitcode == 0
    state, rows, evaluations = finished(RunFolder(tmp_path / "runs" / "whole"))
    assert [step for step, _ in rows] == list(range(1, STEPS + 1))
    assert [step for step, *_ in evaluations] == [0, 15, 30]

    rng = random.Random(0)
    writing = killed = 0
    for kill in range(kills):
        folder = RunFolder(tmp_path / "runs" / f"killed-{kill}")
        metrics, partials = folder.path / "metrics.csv", folder.checkpoints.path
        # About half of the time a checkpoint is being written.
        process = start(*options, f"--name={folder.path.name}", write_delay=0.002)
        moment = rng.randrange(0, STEPS)
        wait_for(process, lambda: folder.config_path.exists() and whole_lines(metrics) >= moment)  # noqa: B023
        if kill % 2:
            wait_for(process, lambda: any(partials.glob(".partial-*")))  # noqa: B023
        time.sleep(rng.random() * 0.05)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        writing += any(partials.glob(".partial-*"))
        done = max(0, whole_lines(metrics))
        newest, problems = folder.checkpoints.newest_valid()
        # Whatever the kill hit, each checkpoint with a name is whole.
        assert not problems
        # The rows are written before their checkpoint, and a checkpoint begins only once the one
        # before it is whole: at most the last two are missing.
        assert (newest or 0) >= done - 2 * EVERY

        resumed = start(f"--resume={folder.path}")
        resumed.join()
        assert resumed.exitcode == 0
        other_state, other_rows, other_evaluations = finished(folder)
        for one, other in zip(state, other_state, strict=True):
            np.testing.assert_array_equal(one, other)
        assert other_rows == rows and other_evaluations == evaluations
        # Nothing of what the killed process was writing is left.
        assert not list(folder.path.rglob(".partial-*"))
    # The test would mean little otherwise; a run may end before a late kill reaches it.
    assert killed >= kills - kills // 10 and writing >= kills // 4
