"""What can happen to a run folder between two runs: each a function that does it to a copy.

The folder is that of a GPT run of six updates that was stopped after four: checkpoints after
three and four, evaluations after none, two and four.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from recipes.common.checkpoints.folder import CheckpointFolder
from tests.fifos import make_fifo

# By name: those after which the run goes on as if nothing had happened, with what is said about
# it, and those that are refused, with the words of the line.
RESUMED: dict[str, tuple[Callable[[Path], None], str]] = {}
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {}


def resumed(says: str = "after 4 of 6 updates"):
    return lambda damage: RESUMED.setdefault(damage.__name__, (damage, says)) and damage


def refused(words: str):
    return lambda damage: REFUSED.setdefault(damage.__name__, (damage, words)) and damage


def checkpoint(folder: Path, step: int = 4) -> Path:
    return CheckpointFolder(folder / "checkpoints").path_of(step)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def set_option(folder: Path, **values) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# Checkpoints


@resumed("cut short, or no checkpoint")
def newest_checkpoint_truncated(folder):
    content = checkpoint(folder).read_bytes()
    checkpoint(folder).write_bytes(content[: len(content) // 2])


@resumed("does not match its checksum")
def newest_checkpoint_with_a_flipped_bit(folder):
    content = bytearray(checkpoint(folder).read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint(folder).write_bytes(content)


@resumed("it is empty")
def newest_checkpoint_empty(folder):
    checkpoint(folder).write_bytes(b"")


@resumed("made after 4 updates, not 9 as its name says")
def checkpoint_under_another_steps_name(folder):
    shutil.copy(checkpoint(folder), checkpoint(folder, 9))


@resumed("step-0000004 (copy).npz, checkpoints/step-4.npz")
def stray_names_among_the_checkpoints(folder):
    for name in ("step-4.npz", "step-abc.npz", "step-0000004 (copy).npz", "notes.txt"):
        shutil.copy(checkpoint(folder), folder / "checkpoints" / name)


@resumed("it is not a file")
def folder_named_like_a_checkpoint(folder):
    checkpoint(folder, 9).mkdir()


@resumed("there is no such file")
def dangling_link_named_like_a_checkpoint(folder):
    checkpoint(folder, 9).symlink_to(folder / "nowhere")


@resumed("it is not a file")
def fifo_named_like_a_checkpoint(folder):
    make_fifo(checkpoint(folder, 9))


@resumed("it cannot be read")
def circle_of_links_named_like_a_checkpoint(folder):
    checkpoint(folder, 9).symlink_to(checkpoint(folder, 9))


@resumed("Ignored in ")
def older_checkpoints_beside_those_of_now(folder):
    (folder / "checkpoints" / "step-0000009.keras").write_bytes(b"older")
    (folder / "step-0000009.npz").write_bytes(b"older")
    (folder / "weights").mkdir()
    (folder / "weights" / "checkpoint-9.h5").write_bytes(b"older")


@resumed("after 4 of 6 updates")
def checkpoints_folder_is_a_link(folder):
    shutil.move(folder / "checkpoints", folder.with_name("elsewhere"))
    (folder / "checkpoints").symlink_to(folder.with_name("elsewhere"), target_is_directory=True)


@refused("No checkpoint of the run is valid")
def every_checkpoint_damaged(folder):
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])


@refused("has made 4 updates with a checkpoint every 1, and there is none")
def checkpoints_folder_missing(folder):
    shutil.rmtree(folder / "checkpoints")


@refused("There is a file where the folder of checkpoints should be")
def checkpoints_folder_is_a_file(folder):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").write_text("")


@refused("but others (checkpoints/step-0000003.keras, checkpoints/step-0000004.keras)")
def older_checkpoints_only(folder):
    for path in (folder / "checkpoints").iterdir():
        path.rename(path.with_suffix(".keras"))


@refused("but others (step-0000003.npz, step-0000004.npz)")
def older_checkpoints_outside_their_folder(folder):
    for path in (folder / "checkpoints").iterdir():
        path.rename(folder / path.name)


# Tables


@resumed()
def last_row_of_metrics_cut_short(folder):
    with (folder / "metrics.csv").open("a") as file:
        file.write("5,1.0,2.")


@resumed()
def rows_after_the_checkpoint(folder):
    for name, steps in (("metrics.csv", (5, 6)), ("evaluations.csv", (6,))):
        path = folder / name
        *_, last = lines(path)
        rows = [",".join([str(step), *last.split(",")[1:]]) for step in steps]
        path.write_text("".join([*lines(path), *rows]))


@resumed()
def last_evaluation_cut_short(folder):
    path = folder / "evaluations.csv"
    path.write_text(path.read_text()[:-9])


@resumed()
def line_ends_of_another_system(folder):
    for name in ("metrics.csv", "evaluations.csv"):
        content = (folder / name).read_bytes().replace(b"\r\n", b"\n")
        (folder / name).write_bytes(content)


@refused("one row for each of 4 updates")
def metrics_removed(folder):
    (folder / "metrics.csv").unlink()


@refused("one row for each of 4 updates")
def metrics_emptied(folder):
    (folder / "metrics.csv").write_text("")


@refused("missing or doubled")
def metrics_with_doubled_rows(folder):
    path = folder / "metrics.csv"
    path.write_text("".join([*lines(path), *lines(path)[2:]]))


@refused("missing or doubled")
def row_of_metrics_missing(folder):
    path = folder / "metrics.csv"
    header, first, _, *rest = lines(path)
    path.write_text("".join([header, first, *rest]))


@refused("damaged")
def number_in_metrics_damaged(folder):
    path = folder / "metrics.csv"
    header, first, *rest = lines(path)
    path.write_text("".join([header, first.replace(".", "x"), *rest]))


@refused("should have the columns step,seconds,loss,learning_rate,factor,base_learning_rate")
def metrics_with_foreign_columns(folder):
    path = folder / "metrics.csv"
    path.write_text(path.read_text().replace("seconds", "epoch", 1))


@refused("should have the columns step,seconds,loss,learning_rate,factor,base_learning_rate")
def metrics_with_one_column_more(folder):
    path = folder / "metrics.csv"
    header, *rows = [line.rstrip() for line in lines(path)]
    path.write_text("\n".join([f"{header},note", *(f"{row},1" for row in rows), ""]))


@refused("not a folder")
def metrics_is_a_folder(folder):
    (folder / "metrics.csv").unlink()
    (folder / "metrics.csv").mkdir()


@refused("A file is expected")
def metrics_is_a_fifo(folder):
    (folder / "metrics.csv").unlink()
    make_fifo(folder / "metrics.csv")


@refused("evaluations of every 2 updates")
def evaluations_removed(folder):
    (folder / "evaluations.csv").unlink()


@refused("evaluations of every 2 updates")
def evaluations_with_doubled_rows(folder):
    path = folder / "evaluations.csv"
    path.write_text("".join([*lines(path), *lines(path)[1:]]))


@refused("should have the columns step,seconds,loss,validation_loss")
def evaluations_with_foreign_columns(folder):
    path = folder / "evaluations.csv"
    path.write_text(path.read_text().replace("validation_loss", "accuracy"))


@refused("The table is damaged")
def evaluations_not_text(folder):
    with (folder / "evaluations.csv").open("ab") as file:
        file.write(b"\xff\xfe\x00" * 9 + b"\n")


# What the run is


@refused("The run's configuration is damaged")
def configuration_cut_short(folder):
    path = folder / "config.json"
    path.write_text(path.read_text()[:-20])


@refused("there is no config.json")
def configuration_removed(folder):
    (folder / "config.json").unlink()


@refused("not that of the checkpoint")
def configuration_of_another_experiment(folder):
    set_option(folder, peak_lr=0.5)


@refused("size has no such value")
def configuration_of_another_recipe(folder):
    set_option(folder, size="resnet18")


@refused("`max_to_keep`: expected")
def configuration_with_a_value_that_is_not_allowed(folder):
    set_option(folder, max_to_keep=0)


@refused("names the run's data is missing")
def data_json_removed(folder):
    (folder / "data.json").unlink()


@refused("names the run's data is damaged")
def data_json_with_other_content(folder):
    (folder / "data.json").write_text('{"source": 1}')


@refused("The file is not JSON")
def data_json_cut_short(folder):
    (folder / "data.json").write_text('{"source": "te')


@refused("The data is not that of the run")
def data_json_of_other_data(folder):
    (folder / "data.json").write_text('{"source": "another", "fingerprint": "0123"}')


# What else lies there


@resumed()
def leftover_partial_files(folder):
    for parent, suffix in ((folder, ".csv"), (folder / "checkpoints", ".npz")):
        (parent / f".partial-h0h1-12345-abcdefgh{suffix}").write_bytes(b"half")


@resumed()
def stale_lock(folder):
    (folder / "run.lock").write_text("12345\nanother machine\n")


@resumed()
def foreign_files(folder):
    (folder / "thesis.docx").write_text("years of work")
    (folder / ".partial-thesis.docx").write_text("months of work")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_text("a picture")


@resumed()
def read_only_files(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o444)


@resumed()
def results_of_an_end_that_was_not(folder):
    for name in ("summary.json", "model.keras", "plot.png"):
        (folder / name).write_bytes(b"damaged")


@resumed()
def tensorboard_removed(folder):
    shutil.rmtree(folder / "tensorboard")


@resumed()
def tensorboard_damaged(folder):
    for path in (folder / "tensorboard").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")


@resumed("The run has no checkpoint yet: it starts from the beginning")
def killed_before_the_first_checkpoint(folder):
    shutil.rmtree(folder / "checkpoints")
    for name in ("metrics.csv", "evaluations.csv"):
        (folder / name).write_text("".join(lines(folder / name)[:2]))


@refused("folder where a file is needed")
def lock_is_a_folder(folder):
    (folder / "run.lock").unlink()
    (folder / "run.lock").mkdir()


@refused("There is a file where a folder is needed")
def tensorboard_is_a_file(folder):
    shutil.rmtree(folder / "tensorboard")
    (folder / "tensorboard").write_text("")


@refused("There is a file where a folder is needed")
def preset_is_a_file(folder):
    (folder / "preset").write_text("")


@refused("There is a folder where a file is needed")
def final_model_is_a_folder(folder):
    (folder / "model.keras").mkdir()
