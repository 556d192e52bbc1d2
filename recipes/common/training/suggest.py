"""`--suggest`: what to set for the configured model and data, instead of training."""

from typing import TYPE_CHECKING, NoReturn

import keras
from rich.console import Console

from keras_h0h1.suggestion import suggest
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.settings import Training
from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.files.writing import atomic, write_json
from recipes.common.results.run_folder import RunFolder

if TYPE_CHECKING:
    from recipes.common.training.task import Task


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
    suggestion = suggest(model, lambda: task.batches(0), f_star=config.f_star, seed=config.seed)
    console.print(str(suggestion), highlight=False, soft_wrap=True, markup=False)
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
