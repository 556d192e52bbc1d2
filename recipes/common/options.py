"""Command-line options from a dataclass: one field, one option, one default, one reason.

A recipe's configuration is a dataclass whose fields are made with `option(default, help)`. The
field `peak_lr: float` becomes `--peak-lr 1e-3` or `--peak-lr=1e-3`. An unknown option, or a value
of the wrong type, is an error that names the nearest valid one.

Example:

>>> from dataclasses import dataclass
>>> @dataclass
... class Config:
...     steps: int = option(300, "how long")
...     schedule: Literal["none", "linear"] = option("none", "which")
>>> build(Config, parse([Config], ["--steps=20", "--schedule", "linear"]))
Config(steps=20, schedule='linear')
"""

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def option(default: Any, help: str) -> Any:
    """A dataclass field with a default and the sentence that `--help` prints for it."""
    return dataclasses.field(default=default, metadata={"help": help})


def flag(name: str) -> str:
    """The option's spelling on the command line: `peak_lr` is `--peak-lr`."""
    return "--" + name.replace("_", "-")


def _nearest(word: str, valid: Sequence[str]) -> str:
    # Compared without case, so that `--c` finds `--C`, and without the dashes that all have in
    # common, which would make any two short options alike.
    word = word.lower().lstrip("-")
    folded = {candidate.lower().lstrip("-"): candidate for candidate in valid}
    # `--lr` is `--peak-lr`, which no measure of likeness finds.
    close = [candidate for candidate in folded if word in candidate.split("-")]
    close = close or difflib.get_close_matches(word, list(folded), n=1, cutoff=0.5)
    return f" Did you mean {folded[close[0]]}?" if close else ""


def _number(kind: type, wanted: str) -> Callable[[str], Any]:
    def convert(text: str):
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {wanted}. Received: {text}") from None

    return convert


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise argparse.ArgumentTypeError(f"expected true or false. Received: {text}")


def _choice(choices: Sequence[str]) -> Callable[[str], str]:
    def convert(text: str):
        if text in choices:
            return text
        raise argparse.ArgumentTypeError(
            f"expected one of {', '.join(choices)}.{_nearest(text, choices)} Received: {text}"
        )

    return convert


def _converter(annotation) -> tuple[Callable[[str], Any], str]:
    """The function that reads one value of this type, and the word that stands for it in help."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return _converter(next(a for a in arguments if a is not type(None)))
    if origin is Literal:
        return _choice(arguments), "{" + ",".join(arguments) + "}"
    if origin is tuple:
        convert, word = _converter(arguments[0])
        return lambda text: tuple(convert(t) for t in text.split(",") if t), f"{word},..."
    return {
        int: (_number(int, "an integer"), "INT"),
        float: (_number(float, "a number"), "FLOAT"),
        bool: (_boolean, "BOOL"),
        str: (str, "TEXT"),
    }[annotation]


class _Parser(argparse.ArgumentParser):
    """argparse, with full option names only and an error that fits on one line."""

    def __init__(self, **kwargs):
        super().__init__(
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists every option)\n")


def parse(
    classes: Sequence[type],
    argv: Sequence[str] | None = None,
    *,
    program: str | None = None,
    description: str | None = None,
    exclude: Sequence[str] = (),
) -> dict[str, Any]:
    """Reads the command line against the fields of `classes`.

    Args:
        classes: Dataclasses whose fields were made with `option`; no name occurs twice.
        argv: The arguments; those of the process by default.
        program: What the usage line calls the program.
        description: Printed above the options.
        exclude: Fields that are not offered.

    Returns:
        The options that were given, by field name; `build` adds the defaults.

    Raises:
        SystemExit: With status 2, on an unknown option or a value of the wrong type.
    """
    parser = _Parser(prog=program, usage="%(prog)s [--option value ...]", description=description)
    names, groups = [], {}
    for cls in classes:
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if field.name in exclude:
                continue
            owner = next(c for c in reversed(cls.__mro__) if field.name in c.__dict__)
            if owner not in groups:
                title = (owner.__doc__ or owner.__name__).split("\n")[0].rstrip(".")
                groups[owner] = parser.add_argument_group(title)
            group = groups[owner]
            names.append(flag(field.name))
            convert, word = _converter(hints[field.name])
            default = "" if field.default in (None, ()) else f" [default: {_text(field.default)}]"
            # `--flip` alone means true.
            alone = hints[field.name] in (bool, bool | None)
            extra = {"nargs": "?", "const": True} if alone else {}
            group.add_argument(
                flag(field.name),
                dest=field.name,
                type=convert,
                metavar=word,
                help=(field.metadata["help"] + default).replace("%", "%%"),
                **extra,
            )
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].partition("=")[0]
        nearest = _nearest(word.replace("_", "-"), names) if word.startswith("-") else ""
        parser.error(f"unknown option.{nearest} Received: {unknown[0]}")
    return vars(given)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def build(cls: type, options: dict[str, Any]) -> Any:
    """An instance of `cls` from those of `options` that are its fields.

    Lists become tuples, so that what was written as JSON reads back equal.
    """
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if name in names
        }
    )
