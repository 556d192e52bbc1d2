"""`--suggest`: what to set for the configured model and data, instead of training."""

from typing import TYPE_CHECKING, NoReturn

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from keras_h0h1.suggestion import suggest
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.settings import Training
from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.files.writing import atomic, write_json
from recipes.common.results.run_folder import RunFolder

if TYPE_CHECKING:
    from recipes.common.training.task import Task


STEPS = 100
"""What a suggestion may cost, in training steps."""


def _progress_bar(console: Console) -> Progress:
    """The steps of the range test and of the curvature; nothing in a log file."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def leave_with_suggestion(
    model: keras.Model,
    task: "Task",
    config: Training,
    folder: RunFolder,
    console: Console,
    devices: Devices = ONE_DEVICE,
) -> NoReturn:
    """Prints a suggestion, writes `suggestion.json` and `.png` to the run folder, and exits.

    Args:
        model: Compiled; of a resumed run, with the weights of its checkpoint.
        task: The data.
        config: The resolved configuration.
        folder: Where to write. The run can be continued by `--resume`.
        console: Where to print.
        devices: What the model was built on.

    Raises:
        SystemExit: With status 0, when all is written.
        InputError: On several hosts.
        ValueError: As `keras_h0h1.suggestion.suggest` does.
    """
    if devices.parts > 1:
        raise InputError(
            f"A suggestion is made on one host. Received: suggest on {devices.parts} hosts"
        )
    with _progress_bar(console) as bar:
        row = bar.add_task("suggestion, compiling", total=STEPS)

        def progress(done: int, total: int) -> None:
            bar.update(row, description="suggestion", completed=done, total=total)

        suggestion = suggest(
            model,
            lambda: task.batches(0),
            f_star=config.f_star,
            steps=STEPS,
            seed=config.seed,
            progress=progress,
        )
    console.print(str(suggestion), highlight=False, soft_wrap=True, markup=False)
    if suggestion.training_steps is not None:
        console.print(
            f"It took {suggestion.seconds:.0f} s: {suggestion.training_steps:.0f} training steps' "
            "time, the rest is the compiler's and the data's.",
            highlight=False,
            soft_wrap=True,
        )
    write_json(folder.path / "suggestion.json", suggestion.to_dict())
    with atomic(folder.path / "suggestion.png") as partial:
        # Its name does not end in .png.
        suggestion.plot().figure.savefig(partial, dpi=150, format="png")
    console.print(
        f"To train with it: --schedule auto --peak-lr {suggestion.base:.2g}. The measurements are "
        f"in {folder.path}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    raise SystemExit(0)
