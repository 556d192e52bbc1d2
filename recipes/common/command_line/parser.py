"""The command line against the fields of dataclasses; see `recipes.common.command_line.options`."""

import argparse
import dataclasses
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

from recipes.common.command_line.errors import InputError, printable
from recipes.common.command_line.names import flag, former_names, nearest, with_present_flag
from recipes.common.command_line.values import Allowed, check_value, show, with_name

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")

# As people write numbers; Python's own functions also take `1_000`, ` 1` and other scripts' digits.
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _integer(text: str) -> int:
    # Python refuses to read more than 4,300 digits; no option has as many as 30.
    if _INTEGER.fullmatch(text) and len(text) <= 30:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected an integer. Received: {show(text)}")


def _float(text: str) -> float:
    match = _DECIMAL.fullmatch(text)
    if match and len(text) <= 400:
        number = float(text)
        # 1e-400 would be read as 0, which many options take for something else.
        if number or not re.search("[1-9]", match[1]):
            return number
        raise argparse.ArgumentTypeError(
            f"expected a number that float32 can hold. Received: {show(text)}"
        )
    raise argparse.ArgumentTypeError(f"expected a number. Received: {show(text)}")


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise argparse.ArgumentTypeError(f"expected true or false. Received: {show(text)}")


def _choice(choices: Sequence[str]) -> Callable[[str], str]:
    def convert(text: str):
        if text in choices:
            return text
        raise argparse.ArgumentTypeError(
            f"expected one of {', '.join(choices)}.{nearest(text[:80], choices)} "
            f"Received: {show(text)}"
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
        return lambda text: tuple(convert(t) for t in text.split(",")), f"{word},..."
    return {
        int: (_integer, "INT"),
        float: (_float, "FLOAT"),
        bool: (_boolean, "BOOL"),
        str: (str, "TEXT"),
    }[annotation]


def _checked(convert: Callable[[str], Any], name: str, annotation: Any, allowed: Allowed):
    """The converter with the declaration's check behind it."""

    def read(text: str):
        value = convert(text)
        try:
            check_value(value, annotation, allowed)
        except InputError as error:
            raise argparse.ArgumentTypeError(with_name(error, name)) from None
        return value

    return read


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
        self.exit(2, f"{self.prog}: error: {printable(message)} (--help lists every option)\n")


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
        SystemExit: With status 2, on an unknown option or a value that is not allowed.
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
                type=_checked(convert, field.name, hints[field.name], field.metadata["allowed"]),
                metavar=word,
                help=(field.metadata["help"] + default).replace("%", "%%"),
                **extra,
            )
    argv = list(sys.argv[1:] if argv is None else argv)
    former = {
        flag(old): flag(new)
        for old, new in former_names(*classes).items()
        if new not in exclude and flag(old) not in names
    }
    argv = [with_present_flag(word, former) for word in argv]
    for word in argv:
        # argparse drops these two dashes wherever they are, and leaves the option empty.
        if word == "--" or word.partition("=")[2] == "--":
            parser.error(f"expected options and their values. Received: {show(word)}")
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].partition("=")[0][:80]
        likeliest = nearest(word.replace("_", "-"), names) if word.startswith("-") else ""
        parser.error(f"unknown option.{likeliest} Received: {show(unknown[0])}")
    return vars(given)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
