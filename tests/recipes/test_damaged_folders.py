"""A damaged run folder is resumed bit for bit, or refused with one line and left as it is."""

import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.results.run_folder import RunFolder
from recipes.common.training import loop as training
from recipes.gpt import model as models
from recipes.gpt.recipe import RECIPE
from tests.backends import only_on
from tests.recipes import tiny
from tests.recipes.conftest import TINY
from tests.recipes.damages import REFUSED, RESUMED


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of six updates, and the same one stopped after four."""
    root = tmp_path_factory.mktemp("damage")
    texts = root / "texts"
    texts.mkdir()
    rng = np.random.default_rng(0)
    words = np.array("the a of loss rate step falls rises slowly fast model learns".split())
    for i in range(40):
        (texts / f"{i:02}.txt").write_text(" ".join(rng.choice(words, size=120)) + ".\n")
    options = [
        f"--data={texts}", f"--cache={root / 'cache'}", f"--runs={root}", "--vocabulary=300",
        "--context=8", "--batch-size=4", "--steps=6", "--eval-every=2", "--checkpoint-every=1",
        "--eval-tokens=64", "--sample-tokens=0", "--peak-lr=0.01",
        "--jit=off" if keras.backend.backend() == "tensorflow" else "--jit=auto",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.SIZES, "demo", TINY)
        # Half a second in each run, and not what is tested.
        patch.setattr(training, "plot_runs", lambda *args, **kwargs: None)
        RECIPE.main([*options, "--name=whole"])
        RECIPE.main([*options, "--name=part", "--stop-after=4"])
        (root / "part" / "summary.json").unlink()
        yield root


@pytest.fixture
def copy(runs, tmp_path):
    return shutil.copytree(runs / "part", tmp_path / "run")


def outcome(folder):
    """All that moves, and all that was noted but for the time it took."""
    path, step = folder.latest_checkpoint()
    assert step == 6
    model = load_checkpoint(path)
    variables = (*model.variables, *model.optimizer.variables)
    tables = {
        name: [{k: str(v) for k, v in row.items() if k != "seconds"} for row in folder.read(name)]
        for name in ("metrics.csv", "evaluations.csv")
    }
    return [keras.ops.convert_to_numpy(v) for v in variables], tables


def content(folder):
    """Everything in a folder, by path; what is no file by its kind."""

    def of(path):
        return path.read_bytes() if path.is_file() else oct(path.lstat().st_mode)

    paths = [path for path in folder.rglob("*") if path.name != "run.lock"]
    return {str(path.relative_to(folder)): of(path) for path in paths}


@pytest.fixture(scope="module")
def whole(runs):
    return outcome(RunFolder(runs / "whole"))


# Files do not depend on the backend; on the slower ones these are enough to see the run go on.
FEW = {
    "newest_checkpoint_truncated", "checkpoint_under_another_steps_name",
    "older_checkpoints_beside_those_of_now", "last_evaluation_cut_short",
    "rows_after_the_checkpoint", "killed_before_the_first_checkpoint",
}  # fmt: skip


def test_there_are_as_many_kinds_as_are_promised():
    assert len(RESUMED) >= 20 and len(REFUSED) >= 20 and FEW <= set(RESUMED)


@pytest.mark.parametrize("name", RESUMED if keras.backend.backend() == "jax" else sorted(FEW))
def test_resumed_bit_for_bit(name, copy, whole, capsys):
    damage, says = RESUMED[name]
    damage(copy)
    foreign = {"thesis.docx", ".partial-thesis.docx", "pictures/a.png", "step-0000009.npz"}
    before = {path: data for path, data in content(copy).items() if path in foreign}
    assert RECIPE.main([f"--resume={copy}"])["finished"]
    printed = capsys.readouterr().out
    assert says in printed, printed
    state, tables = outcome(RunFolder(copy))
    for one, other in zip(whole[0], state, strict=True):
        np.testing.assert_array_equal(one, other)
    assert tables == whole[1]
    after = content(copy)
    assert before.items() <= after.items()
    assert not any("partial-h0h1" in path for path in after)
    if name == "results_of_an_end_that_was_not":
        assert keras.saving.load_model(copy / "model.keras").count_params() > 0


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_line(name, copy, capsys):
    damage, words = REFUSED[name]
    damage(copy)
    before = content(copy)
    with pytest.raises(SystemExit) as stopped:
        RECIPE.main([f"--resume={copy}"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and words in message and "Received: " in message, message
    assert str(copy) in message or name.startswith("data"), message
    assert content(copy) == before


# Both begin at the same moment, twice: one run of one name, then its resumption.
_TWO = """
import pathlib, sys, time
from tests.recipes import tiny
root, own, other = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
begin = ["--steps=6", "--eval-every=2", "--stop-after=4", "--name=r", f"--runs={root}"]
for turn, argv in enumerate((begin, [f"--resume={root / 'r'}"])):
    (root / f"{own}{turn}").touch()
    while not (root / f"{other}{turn}").exists():
        time.sleep(0.001)
    try:
        tiny.main(argv, batch_delay=0.2)
        print("ran", file=sys.stderr, flush=True)
    except SystemExit as stopped:
        print("status", stopped.code, file=sys.stderr, flush=True)
"""


@only_on("jax", reason="a lock does not depend on the backend")
def test_of_two_processes_at_once_one_runs_and_the_other_is_refused(tmp_path, monkeypatch):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _TWO, str(tmp_path), *names],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for names in ("ab", "ba")
    ]
    try:
        said = [process.communicate(timeout=300)[1].splitlines() for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [[x for x in lines if x.startswith(("python -m", "ran", "status"))] for lines in said]
    ran = [lines.count("ran") for lines in said]
    refused = [line for lines in said for line in lines if line != "ran"]
    # In each of the two turns one of them ran.
    assert sum(ran) == 2 and refused.count("status 2") == 2, said
    errors = [line for line in refused if line != "status 2"]
    assert len(errors) == 2 and all(str(tmp_path / "r") in line for line in errors), said
    # At first the folder may be refused as well because a run is in it; on `--resume` it is locked.
    assert any("Another process works in this run folder" in line for line in errors), said

    monkeypatch.setattr(training, "plot_runs", lambda *args, **kwargs: None)
    tiny.RECIPE.main(["--steps=6", "--eval-every=2", "--name=whole", f"--runs={tmp_path}"])
    one, other = (outcome(RunFolder(tmp_path / name)) for name in ("whole", "r"))
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1] == other[1]
