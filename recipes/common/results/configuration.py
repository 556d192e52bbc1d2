"""A run's configuration: what of it is the experiment, and how a resumed run takes it up."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.command_line.options import build, with_present_names
from recipes.common.files.reading import read_json

PLACE = frozenset({"runs", "name"})
"""Where a run is."""

SINGLE_RUN = frozenset({"name", "resume", "stop_after", "suggest"})
"""Options of one run or of one command, which a comparison of several does not have."""

DRY_RUN = frozenset({"dry_run", "target", "hardware", "utilisation", "price"})
"""Options of a recipe's `--dry-run`, which trains nothing."""

CHANGEABLE = frozenset({"max_to_keep", "checkpoint_every", "distribute", "model_shards"})
"""What may be changed when a run is resumed: how it runs, not what it computes."""

NOT_THE_EXPERIMENT = PLACE | SINGLE_RUN | DRY_RUN | CHANGEABLE | {"cache", "workers"}
"""Options on which a run's numbers do not depend. Runs that differ in these alone are runs of one
experiment: for a checkpoint, the report and a comparison."""


def experiment(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options on which a run's numbers depend.

    Example:

    >>> experiment({"peak_lr": 0.001, "seed": 0, "runs": "runs", "max_to_keep": 2})
    {'peak_lr': 0.001, 'seed': 0}
    """
    return {name: v for name, v in options.items() if name not in NOT_THE_EXPERIMENT}


def configuration(config: Any) -> dict[str, Any]:
    """The part of a run's configuration that a resumed run has to share, as JSON has it."""
    return json.loads(json.dumps(experiment(dataclasses.asdict(config))))


def read_configuration(path: Path, cls: type) -> Any:
    """The configuration in a `config.json`.

    Args:
        path: The file.
        cls: The recipe's dataclass.

    Raises:
        MissingInputError: If there is no such file.
        InputError: If it is not a configuration of this recipe.
    """
    if not path.exists():
        raise MissingInputError(
            f"Nothing to resume: there is no config.json. Received: resume={path.parent}"
        )
    try:
        values = read_json(path)
    except InputError as error:
        raise InputError(f"The run's configuration is damaged. {error}") from None
    values = with_present_names(cls, values)
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}
    for name, value in values.items():
        if name not in names or not _fits(value, hints[name]):
            what = "is no option of this recipe" if name not in names else "has no such value"
            raise InputError(
                f"The run's configuration is damaged: {name} {what}. "
                f"Received: {name}={value!r:.100} in {path}"
            )
    try:
        return build(cls, values)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"The run's configuration is damaged ({error}). Received: {path}"
        ) from None


def check_unchanged(stored: Any, given: Mapping[str, Any]) -> None:
    """Makes sure that no option of the command line contradicts the run to resume.

    Raises:
        ValueError: If one does: the run would no longer be the one that was begun.
    """
    free = PLACE | SINGLE_RUN | CHANGEABLE
    for name, value in given.items():
        if name not in free and getattr(stored, name) != value:
            raise ValueError(
                "A resumed run keeps its configuration; leave the option out, or start a new "
                f"run. Received: {name}={value!r}, the run has {getattr(stored, name)!r}"
            )


def check_made_with(
    stored: dict[str, Any], made_with: Mapping[str, Any], checkpoint: Path, path: Path
) -> None:
    """Makes sure that a checkpoint was made with the stored configuration.

    Args:
        stored: What `configuration` gives for the run.
        made_with: The same, as the checkpoint has it.
        checkpoint: The checkpoint, for the message.
        path: The file of the run's configuration, for the message.

    Raises:
        ValueError: If a value differs.
    """
    for name, value in made_with.items():
        if name in stored and stored[name] != value:
            raise ValueError(
                f"The configuration is not that of the checkpoint {checkpoint}, which had "
                f"{name}={value!r}. Received: {name}={stored[name]!r} in {path}"
            )


def resumed(stored: Any, given: Mapping[str, Any], folder: Path) -> Any:
    """The configuration with which a run continues."""
    return dataclasses.replace(
        stored,
        resume=str(folder),
        stop_after=given.get("stop_after"),
        suggest=given.get("suggest", False),
        **{name: given[name] for name in sorted(CHANGEABLE) if name in given},
    )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is one of an option's type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is type(None):
        return value is None
    if hint is float:
        # An integer may be larger than any float.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and -1.8e308 < value < 1.8e308 and not math.isnan(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
