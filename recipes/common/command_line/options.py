"""Command-line options from a dataclass: one field, one option, one default, one reason.

A recipe's configuration is a dataclass whose fields are made with `option(default, help)`. The
field `peak_lr: float` becomes `--peak-lr 1e-3` or `--peak-lr=1e-3`. An unknown option is an error
that names the nearest valid one. What a value may be stands in the declaration too, and is checked
on the command line (`parse`) and wherever the dataclass is made (`check_options`).

Example:

>>> from dataclasses import dataclass
>>> from typing import Literal
>>> @dataclass
... class Config:
...     steps: int = option(300, "how long", low=1)
...     schedule: Literal["none", "linear"] = option("none", "which")
>>> build(Config, parse([Config], ["--steps=20", "--schedule", "linear"]))
Config(steps=20, schedule='linear')
"""

import dataclasses
import typing
from typing import Any

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.names import AcceptsFormerNames, flag, with_present_names
from recipes.common.command_line.parser import parse
from recipes.common.command_line.values import Allowed, Kind, check_value, show, with_name

__all__ = [
    "AcceptsFormerNames",
    "build",
    "check_options",
    "flag",
    "option",
    "parse",
    "show",
    "with_present_names",
]


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    kind: Kind = "text",
    formerly: str | None = None,
) -> Any:
    """A dataclass field with a default and the sentence that `--help` prints for it.

    Args:
        default: The value if the option is not given.
        help: The sentence.
        low: See `Allowed`, as for `high`, `above`, `below` and `kind`.
        high: Largest number.
        above: What the number has to exceed.
        below: What the number has to stay under.
        kind: Of a text.
        formerly: An earlier name. It stays accepted on the command line, in the `config.json` of
            run folders, and as a keyword of classes whose metaclass is `AcceptsFormerNames`.
    """
    allowed = Allowed(low, high, above, below, kind)
    metadata = {"help": help, "allowed": allowed, "formerly": formerly}
    return dataclasses.field(default=default, metadata=metadata)


def check_options(config: Any) -> None:
    """Checks all fields of a dataclass that were made with `option`; for its `__post_init__`.

    Raises:
        InputError: If a value is not of the field's type, or is not allowed.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        if "allowed" not in field.metadata:
            continue
        value = getattr(config, field.name)
        try:
            check_value(value, hints[field.name], field.metadata["allowed"], field.default)
        except InputError as error:
            raise InputError(f"`{field.name}`: {with_name(error, field.name)}") from None


def build(cls: type, options: dict[str, Any]) -> Any:
    """An instance of `cls` from those of `options` that are its fields.

    Lists become tuples, so that what was written as JSON reads back equal.
    """
    options = with_present_names(cls, options)
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if name in names
        }
    )
