"""`--suggest`: what to set for the configured model and data, instead of training."""

from typing import TYPE_CHECKING, NoReturn

import keras
from rich.console import Console

from keras_h0h1.suggestion import suggest
from recipes.common.distribute import current
from recipes.common.errors import InputError
from recipes.common.files import atomic, write_json
from recipes.common.run_folder import RunFolder
from recipes.common.settings import Training

if TYPE_CHECKING:
    from recipes.common.training import Task


def leave_with_suggestion(
    model: keras.Model, task: "Task", config: Training, folder: RunFolder, console: Console
) -> NoReturn:
    """Prints a suggestion, writes `suggestion.json` and `.png` to the run folder, and exits.

    Args:
        model: Compiled; of a resumed run, with the weights of its checkpoint.
        task: The data.
        config: The resolved configuration.
        folder: Where to write. The run can be taken up by `--resume`.
        console: Where to print.

    Raises:
        SystemExit: With status 0, when all is written.
        InputError: On several hosts.
        ValueError: As `keras_h0h1.suggestion.suggest` does.
    """
    if current().parts > 1:
        raise InputError(
            f"A suggestion is made on one host. Received: suggest on {current().parts} hosts"
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
