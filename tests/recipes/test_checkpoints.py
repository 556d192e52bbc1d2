import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from recipes.common.checkpoints import snapshot as checkpoints
from recipes.common.checkpoints.folder import CheckpointFolder
from recipes.common.checkpoints.reading import find_problem, read_header
from recipes.common.checkpoints.snapshot import load_checkpoint, save_checkpoint
from recipes.common.checkpoints.writer import CheckpointWriter
from recipes.common.files.writing import StorageError
from recipes.common.results.run_folder import RunFolder
from recipes.common.training import loop as training
from tests.recipes import tiny


@pytest.fixture(autouse=True, scope="module")
def _no_plots():
    """Half a second in each run, and not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "plot_runs", lambda *args, **kwargs: None)
        yield


def make_model():
    """A model with everything that moves, after a few updates."""
    schedule = LossAdaptiveLearningRate(1e-2, C=0.5, smoothing=0.9)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.AdamW(
        schedule, use_ema=True, ema_overwrite_frequency=3, gradient_accumulation_steps=2
    )
    # JAX would run operation by operation.
    model.compile(LossAware(optimizer), "mse", jit_compile=keras.backend.backend() == "jax")
    train(model, 3)
    return model


def train(model, batches):
    rng = np.random.default_rng(0)
    for _ in range(batches):
        model.train_on_batch(rng.normal(size=(4, 3)), rng.normal(size=(4, 1)))


def state(model):
    variables = (*model.variables, *model.optimizer.variables)
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables]


def equal(one, other):
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def checkpoint(model, tmp_path):
    save_checkpoint(model, tmp_path / "step-0000003.npz", 3, {"seed": 0})
    return tmp_path / "step-0000003.npz"


def test_a_loaded_model_goes_on_as_the_saved_one_would(tmp_path):
    model = make_model()
    path = tmp_path / "step-0000003.npz"
    save_checkpoint(model, path, 3)
    saved = state(model)
    train(model, 5)
    loaded = load_checkpoint(path)
    assert equal(state(loaded), saved)
    # With dropout: the generators are where they were, PyTorch's global one too. Micro-batches
    # already accumulated, the average of the weights and of the loss are, too.
    train(loaded, 5)
    assert equal(state(loaded), state(model)) and not equal(state(loaded), saved)


def test_numpy_reads_it(checkpoint, model):
    header = read_header(checkpoint)
    assert header["step"] == 3 and header["run"] == {"seed": 0}
    with np.load(checkpoint) as file:
        for index, value in enumerate(state(model)):
            np.testing.assert_array_equal(file[f"{index:05}"], value)
    assert len(header["variables"]) == len(state(model))


def test_bfloat16_keeps_its_bits(tmp_path, backend):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16")])
    model.compile(keras.optimizers.SGD(), "mse")
    save_checkpoint(model, tmp_path / "a.npz")
    loaded = load_checkpoint(tmp_path / "a.npz")
    assert keras.backend.standardize_dtype(loaded.weights[0].dtype) == "bfloat16"
    for one, other in zip(loaded.weights, model.weights, strict=True):
        assert np.array_equal(*(keras.ops.convert_to_numpy(v.value) for v in (one, other)))


def test_another_backend_reads_it(checkpoint, model, tmp_path, backend):
    other = "tensorflow" if backend == "jax" else "jax"
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"{other} is not installed")
    script = (
        "import sys, numpy as np; from recipes.common.checkpoints.snapshot import load_checkpoint;"
        "m = load_checkpoint(sys.argv[1]);"
        "np.savez(sys.argv[2], *[v.numpy() for v in (*m.variables, *m.optimizer.variables)])"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(checkpoint), str(tmp_path / "out.npz")],
        env={**os.environ, "KERAS_BACKEND": other, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=120,
    )
    with np.load(tmp_path / "out.npz") as out:
        for one, other in zip(state(model), out.values(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_every_damage_is_noticed(checkpoint, tmp_path):
    whole = checkpoint.read_bytes()
    assert find_problem(checkpoint) is None
    rng = np.random.default_rng(0)
    damaged = tmp_path / "damaged.npz"
    places = [0, 1, len(whole) - 1, len(whole) - 64, len(whole) - 65]
    for index, place in enumerate([*places, *rng.integers(0, len(whole), 200)]):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(flipped)
        os.utime(damaged, ns=(index, index))  # the clock is coarser than this loop
        assert find_problem(damaged), place
        damaged.write_bytes(whole[:place])
        os.utime(damaged, ns=(10**6 + index,) * 2)
        assert find_problem(damaged), place
    with pytest.raises(ValueError, match=r"not valid: .* Received: .*damaged\.npz"):
        load_checkpoint(damaged)
    assert "cannot be read" in find_problem(tmp_path / "nowhere.npz")


def test_a_crash_while_writing_leaves_the_one_before(checkpoint, model, monkeypatch):
    before = checkpoint.read_bytes()
    left = [5]

    def crash(member, array):
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("crash")
        np.lib.format.write_array(member, array)

    monkeypatch.setattr(checkpoints, "_write_array", crash)
    with pytest.raises(RuntimeError, match="crash"):
        save_checkpoint(model, checkpoint, 4)
    assert checkpoint.read_bytes() == before


def test_the_newest_valid_one_is_found_and_kept(checkpoint, model, tmp_path):
    folder = CheckpointFolder(tmp_path)
    for step in (4, 5, 6):
        save_checkpoint(model, folder.path_of(step), step)
    folder.path_of(6).write_bytes(checkpoint.read_bytes()[:-1])
    folder.path_of(5).write_bytes(b"")
    step, problems = folder.newest_valid()
    assert step == 4
    assert [path.name for path in problems] == ["step-0000006.npz", "step-0000005.npz"]
    assert "cut short" in problems[folder.path_of(6)] and "empty" in problems[folder.path_of(5)]
    for path in problems:
        folder.set_aside(path)
    shutil.copy(checkpoint, folder.path_of(7))
    folder.rotate(2, 7)
    assert folder.steps() == [7, 4]
    # Its name says another step than its content.
    assert folder.newest_valid()[0] == 4
    assert "made after 3 updates, not 7" in folder.newest_valid()[1][folder.path_of(7)]
    folder.rotate(1, 7)
    assert folder.steps() == [7]
    folder.path_of(7).write_bytes(b"spoilt")
    with pytest.raises(ValueError, match=r"No checkpoint .* valid \(step-0000007.npz: .*Received"):
        folder.newest_valid()


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    model, may_write = make_model(), threading.Event()

    def wait(member, array):
        may_write.wait(30)
        np.lib.format.write_array(member, array)

    monkeypatch.setattr(checkpoints, "_write_array", wait)
    folder = CheckpointFolder(tmp_path)
    with CheckpointWriter(folder, 2, {}) as writer:
        saved = state(model)
        writer.save(model, 3)
        train(model, 4)
        writer.check()
        assert not folder.steps() and writer.last is None
        assert not equal(state(model), saved)
        may_write.set()
    assert writer.last == 3
    # It holds what was, not what training has made of it since.
    assert equal(state(load_checkpoint(folder.path_of(3))), saved)


def test_an_error_in_the_thread_is_raised_at_the_next_update(tmp_path, monkeypatch):
    def full(member, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_write_array", full)
    seen = []

    def hook(k):
        seen.append(k)
        # Time for the thread; far less than the rest of the run would take.
        threading.Event().wait(0.05)

    monkeypatch.setattr(tiny, "hook", hook)
    config = tiny.TinyConfig(steps=1000, eval_every=1000, checkpoint_every=2, runs=str(tmp_path))
    with pytest.raises(StorageError, match=r"after 2 updates .* disk is full.*Received: .*step-0"):
        tiny.RECIPE.run(config, Console(quiet=True))
    assert len(seen) < 200


def run(*argv):
    return tiny.RECIPE.main(["--eval-every=2", "--steps=6", "--checkpoint-every=2", *argv])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of `run()`, left alone."""
    folder = tmp_path_factory.mktemp("runs")
    run(f"--runs={folder}", "--name=whole")
    return RunFolder(folder / "whole")


def one_line_error(capsys, *argv):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(*argv)
    assert stopped.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "error: " in message and "Received: " in message
    return message


def test_corrupt_checkpoints_are_named_and_skipped(whole, tmp_path, capsys):
    run(f"--runs={tmp_path}", "--name=r", "--stop-after=4")
    folder = RunFolder(tmp_path / "r")
    assert folder.checkpoints.steps() == [4, 2]
    newest = folder.checkpoints.path_of(4)
    newest.write_bytes(newest.read_bytes()[:1000])
    # A line that a kill cut short, whose step reads as a smaller one.
    with (folder.path / "metrics.csv").open("a") as file:
        file.write("5,0.1,0.2,0.3,0.4,0.5\r\n1")
    capsys.readouterr()
    run(f"--resume={folder.path}", "--max-to-keep=3")
    printed = capsys.readouterr().out
    assert f"Skipped the checkpoint {newest}: it is cut short" in printed
    assert f"Resumed from {folder.checkpoints.path_of(2)}, after 2 of 6" in printed
    assert folder.checkpoints.steps() == [6, 4, 2]
    a, b = (load_checkpoint(f.latest_checkpoint()[0]) for f in (whole, folder))
    assert equal(state(a), state(b))
    for f in (whole, folder):
        assert [row["step"] for row in f.read("metrics.csv")] == [1, 2, 3, 4, 5, 6]

    for step in folder.checkpoints.steps():
        folder.checkpoints.path_of(step).write_bytes(b"spoilt")
    left = {p.name for p in folder.checkpoints.path.iterdir()}
    assert "No checkpoint of the run is valid" in one_line_error(capsys, f"--resume={folder.path}")
    assert {p.name for p in folder.checkpoints.path.iterdir()} == left


def test_another_configuration_is_refused(tmp_path, capsys):
    run(f"--runs={tmp_path}", "--name=r", "--stop-after=2")
    folder = RunFolder(tmp_path / "r")
    before = folder.checkpoints.path_of(2).read_bytes()
    resume = f"--resume={folder.path}"
    assert "steps=7, the run has 6" in one_line_error(capsys, resume, "--steps=7")
    # Not by the command line, but behind its back.
    text = folder.config_path.read_text()
    folder.config_path.write_text(text.replace('"peak_lr": 0.001', '"peak_lr": 0.1'))
    assert "which had peak_lr=0.001. Received: peak_lr=0.1" in one_line_error(capsys, resume)
    folder.config_path.write_text(text[:-20])
    assert "configuration is damaged" in one_line_error(capsys, resume)
    assert folder.checkpoints.path_of(2).read_bytes() == before


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "There is a file where" in one_line_error(capsys, f"--runs={tmp_path / 'file' / 'runs'}")
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
    else:
        locked = "/sys"  # whose folders not even root can add to
    assert "choose another folder" in one_line_error(capsys, f"--runs={locked}", "--name=r")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes; where mounting is not permitted, a limit on file sizes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
    else:
        yield None


@dataclasses.dataclass
class FileSizeLimit:
    """No file grows past so many bytes, within a `with` block."""

    size: int

    def __enter__(self):
        resource = pytest.importorskip("resource")
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *error):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def test_a_full_disk_destroys_nothing(whole, tmp_path, small_disk, capsys):
    runs = small_disk or tmp_path / "runs"
    run(f"--runs={runs}", "--name=r", "--stop-after=2")
    folder = RunFolder(runs / "r")
    before = folder.checkpoints.path_of(2).read_bytes()
    resume = f"--resume={folder.path}"
    if small_disk:
        filler = small_disk / "filler"
        status = os.statvfs(small_disk)
        # Room for the metrics, not for a checkpoint.
        filler.write_bytes(b"0" * (status.f_bavail * status.f_frsize - len(before) // 2))
        message = one_line_error(capsys, resume)
        filler.unlink()
        assert "The disk is full" in message
    else:
        with FileSizeLimit(len(before) // 2):
            message = one_line_error(capsys, resume)
    assert "after 4 updates could not be written; that after 2 is intact" in message
    assert folder.checkpoints.path_of(2).read_bytes() == before
    assert folder.checkpoints.steps() == [2]
    assert run(resume)["finished"]
    a, b = (load_checkpoint(f.latest_checkpoint()[0]) for f in (whole, folder))
    assert equal(state(a), state(b))
