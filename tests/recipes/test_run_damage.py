"""A damaged run folder is refused with one error, or what is not the run's is left alone."""

import hashlib
import json

import numpy as np
import pytest

from recipes.common.checkpoints.folder import CheckpointFolder
from recipes.common.command_line.errors import InputError
from recipes.common.files.fingerprint import update
from recipes.common.files.writing import discard_partials, replace_folder
from recipes.common.results.run_folder import RunFolder
from tests.backends import only_on
from tests.recipes.tiny import TinyConfig

pytestmark = only_on("jax", reason="files do not depend on the backend")


def test_a_second_process_and_a_second_run_of_one_name_are_refused(tmp_path):
    folder = RunFolder.create(str(tmp_path), "r", "tiny")
    with folder.lock(new=True):
        with pytest.raises(InputError, match="Another process"), RunFolder(folder.path).lock():
            pass
        folder.write_config(TinyConfig())
    with pytest.raises(InputError, match="There is a run"):
        RunFolder.create(str(tmp_path), "r", "tiny")
    with folder.lock():
        pass


def test_of_two_runs_begun_at_once_the_second_is_refused(tmp_path):
    """Both found the folder empty; the first has written to it and ended when the second locks."""
    first, second = (RunFolder.create(str(tmp_path), "r", "tiny") for _ in range(2))
    with first.lock(new=True):
        first.write_config(TinyConfig())
    with pytest.raises(InputError, match="There is a run"), second.lock(new=True):
        pass
    assert len(list(first.path.glob("config.json"))) == 1


@pytest.mark.parametrize(
    "table",
    [
        "1,2\n1,2\n2,2\n3,2\n",
        "1,2\n3,2\n",
        "",
        "a,2\n2,2\n3,2\n",
        "1,2\n2,2\n3,2\n2,2\n",
        "1,2\n2,2\n3,2\n4,2\n3,2\n",
    ],
)
def test_rows_doubled_or_missing_are_said(folder, table):
    folder.path.mkdir()
    (folder.path / "metrics.csv").write_text("step,loss\n" + table)
    with pytest.raises(InputError, match="Received"):
        folder.truncate(3)


@pytest.mark.parametrize("steps", [(), (0,), (2, 4), (0, 2, 2, 4), (0, 4, 2), (0, 3, 4)])
def test_evaluations_doubled_missing_or_unordered_are_said(folder, steps):
    folder.path.mkdir()
    rows = "".join(f"{n},2\n" for n in range(1, 5))
    (folder.path / "metrics.csv").write_text("step,loss\n" + rows)
    table = folder.path / "evaluations.csv"
    header = "step,seconds,loss,validation_loss\n"
    # The last is made up for by the resumed run; those after it are done again.
    for good in ((0, 2), (0, 2, 3, 4), (0, 2, 4, 6)):
        table.write_text(header + "".join(f"{n},1,1,1\n" for n in good))
        folder.truncate(4, eval_every=2)
    table.write_text(header + "".join(f"{n},1,1,1\n" for n in steps))
    with pytest.raises(InputError, match=r"evaluations of every 2 updates.* Received: "):
        folder.truncate(4, eval_every=2)
    table.unlink()
    with pytest.raises(InputError, match="evaluations of every 2"):
        folder.truncate(4, eval_every=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": "cosine"}, "schedule has no such value"),
        ({"steps": "7"}, "steps has no such value"),
        ({"peak_lr": True}, "peak_lr has no such value"),
        ({"unknown": 1}, "unknown is no option"),
        ({"seed": [1]}, "seed has no such value"),
        ({"steps": -1}, "expected an integer >="),
    ],
)
def test_a_damaged_configuration(folder, change, words):
    folder.write_config(TinyConfig())
    assert folder.read_config(TinyConfig, {}).schedule == "auto"
    values = json.loads(folder.config_path.read_text()) | change
    folder.config_path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=f"damaged.*{words}"):
        folder.read_config(TinyConfig, {})


def test_the_file_that_names_the_data_is_missed(folder):
    folder.path.mkdir()
    folder.check_data("text", "0123")
    folder.check_data("text", "0123")
    (folder.path / "data.json").unlink()
    folder.checkpoints.path.mkdir()
    folder.checkpoints.path_of(2).touch()
    with pytest.raises(InputError, match="names the run's data is missing"):
        folder.check_data("text", "0123")


def test_stray_names_are_no_checkpoints(tmp_path):
    names = ["step-5.npz", "step-abc.npz", "step-0000006 (copy).npz"]
    for name in names:
        (tmp_path / name).touch()
    folder = CheckpointFolder(tmp_path)
    assert folder.newest_valid() == (None, {})
    assert folder.strays() == sorted(names)


def test_others_files_stay(tmp_path):
    (tmp_path / ".partial-thesis.docx").touch()
    (tmp_path / ".partial-h0h1-12-abcdefgh.npz").touch()
    for folder in (".partial-h0h1-12-abcdefgh", ".partial-h0h1-of-mine"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").touch()
    discard_partials(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".partial-thesis.docx", ".partial-h0h1-of-mine"}


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    def write(folder):
        folder.mkdir()
        (folder / "new").touch()

    def fail(folder):
        write(folder)
        raise KeyError

    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "old").touch()
    with pytest.raises(KeyError):
        replace_folder(tmp_path / "preset", fail)
    assert [path.name for path in tmp_path.rglob("*")] == ["preset", "old"]
    for _ in range(2):
        replace_folder(tmp_path / "preset", write)
        assert [path.name for path in tmp_path.rglob("*")] == ["preset", "new"]


@pytest.mark.parametrize("at", [0, 500_000, 999_999])
def test_any_token_replaced_changes_the_fingerprint(at):
    # Several blocks of what is hashed at once.
    tokens = np.arange(1_000_000).astype("uint16")
    digests = []
    for _ in range(2):
        key = hashlib.sha256()
        update(key, tokens)
        digests.append(key.digest())
        tokens[at] += 1
    assert digests[0] != digests[1]
