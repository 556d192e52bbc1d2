"""Command-line options from a dataclass: one field, one option, one default, one reason.

A recipe's configuration is a dataclass whose fields are made with `option(default, help)`. The
field `peak_lr: float` becomes `--peak-lr 1e-3` or `--peak-lr=1e-3`. An unknown option is an error
that names the nearest valid one. What a value may be stands in the declaration too, and is checked
on the command line (`parse`) and wherever the dataclass is made (`check_options`).

Example:

>>> from dataclasses import dataclass
>>> @dataclass
... class Config:
...     steps: int = option(300, "how long", low=1)
...     schedule: Literal["none", "linear"] = option("none", "which")
>>> build(Config, parse([Config], ["--steps=20", "--schedule", "linear"]))
Config(steps=20, schedule='linear')
"""

import argparse
import dataclasses
import difflib
import math
import numbers
import re
import struct
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from recipes.common.command_line.errors import InputError, printable

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


# Integers that NumPy, TensorFlow and CSV readers hold, and numbers that are neither infinite nor
# zero in float32, whatever the option.
_INT_MAX = 2**63 - 1
_FLOAT32_MAX, _FLOAT32_TINY = 3.4028234e38, 1.1754944e-38
# As file systems have them, in bytes; the program adds to a name what it writes there.
_NAME_MAX, _PATH_MAX = 255, 4095
_ROOM = 55

# As people write numbers; Python's own functions also take `1_000`, ` 1` and other scripts' digits.
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

Kind = Literal["text", "path", "folder", "name"]


@dataclasses.dataclass(frozen=True)
class Allowed:
    """What an option's value may be; of a tuple, what each of its elements may be.

    Args:
        low: Smallest number.
        high: Largest number.
        above: What the number has to exceed.
        below: What the number has to stay under, also when it is rounded to float32.
        kind: Of a text: `"text"` is one line of it; `"path"` a path that a file system can have;
            `"folder"` one that is or can become a folder; `"name"` the name of a file or folder.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    kind: Kind = "text"

    def check(self, value: Any) -> None:
        """Returns if the value is allowed; else raises `InputError` that says what is."""
        if isinstance(value, str):
            _check_text(value, self.kind)
        elif not self._holds(value):
            raise InputError(f"expected {self._words(value)}. Received: {show(value)}")

    def _holds(self, number: float) -> bool:
        if isinstance(number, int):
            if abs(number) > _INT_MAX:
                return False
        elif not _in_float32(number):
            return False
        return (
            (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
            and (self.below is None or struct.unpack("f", struct.pack("f", number))[0] < self.below)
        )

    def _words(self, number: float) -> str:
        bounds = [
            f"{sign} {bound:{'' if isinstance(bound, int) else 'g'}}"
            for sign, bound in (
                (">=", self.low), (">", self.above), ("<=", self.high), ("<", self.below),
            )
            if bound is not None
        ]  # fmt: skip
        if isinstance(number, int):
            return f"an integer {' and '.join(bounds or ['of 64 bits'])}"
        if not bounds or not _in_float32(number):
            return "a finite number that float32 can hold"
        return f"a number {' and '.join(bounds)}"


def _in_float32(number: float) -> bool:
    return number == 0 or _FLOAT32_TINY <= abs(number) <= _FLOAT32_MAX


def _check_text(text: str, kind: Kind) -> None:
    def refuse(wanted: str):
        raise InputError(f"expected {wanted}. Received: {show(text)}")

    if not text.strip():
        refuse("something that is not empty")
    if not all(c.isprintable() for c in text):
        refuse("one line of printable characters")
    if len(text.encode()) > _PATH_MAX:
        refuse(f"at most {_PATH_MAX} bytes")
    if kind == "text":
        return
    parts = [text] if kind == "name" else Path(text).parts
    longest = max(len(part.encode()) for part in parts)
    if kind == "name" and (text in (".", "..") or "/" in text or "\\" in text):
        refuse("a name, without folders")
    limit = _NAME_MAX if kind == "path" else _NAME_MAX - _ROOM
    if longest > limit:
        refuse(f"names of at most {limit} bytes")
    if kind == "folder":
        path = Path(text).expanduser() if text.startswith("~") else Path(text)
        existing = next((p for p in (path, *path.parents) if _exists(p)), None)
        if existing is not None and not existing.is_dir():
            raise InputError(
                "There is a file where a folder is needed; choose another folder. "
                f"Received: {show(text)}"
            )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def show(value: Any) -> str:
    """The value for an error's one line, short and without control characters."""
    if isinstance(value, int) and abs(value) > _INT_MAX:
        return "an integer beyond 64 bits"
    text = printable(str(value)) if isinstance(value, str) else repr(value)
    text = text or "nothing"
    # Room for the paths that people have.
    return text if len(text) <= 300 else f"{text[:60]}... ({len(text)} characters)"


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    kind: Kind = "text",
) -> Any:
    """A dataclass field with a default and the sentence that `--help` prints for it.

    What else is given says which values are allowed: see `Allowed`.
    """
    allowed = Allowed(low, high, above, below, kind)
    return dataclasses.field(default=default, metadata={"help": help, "allowed": allowed})


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
            _check(value, hints[field.name], field.metadata["allowed"], field.default)
        except InputError as error:
            raise InputError(f"`{field.name}`: {_named(error, field.name)}") from None


def _named(error: InputError, name: str) -> str:
    message, received, value = str(error).rpartition("Received: ")
    return f"{message}{received}{name}={value}"


def _check(value: Any, annotation: Any, allowed: Allowed, default: Any = None) -> None:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return
        annotation = next(a for a in arguments if a is not type(None))
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        if not isinstance(value, tuple):
            raise InputError(f"expected several values. Received: {show(value)}")
        if not value and default != ():
            raise InputError("expected one value at least. Received: none")
        for element in value:
            _check(element, arguments[0], allowed)
        twice = [v for i, v in enumerate(value) if v in value[:i]]
        if twice:
            raise InputError(f"expected different values. Received: {show(twice[0])} twice")
        return
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise InputError(f"expected one of {', '.join(arguments)}. Received: {show(value)}")
        return
    abstract, word = {
        int: (numbers.Integral, "an integer"),
        float: (numbers.Real, "a number"),
        bool: (bool, "true or false"),
        str: (str, "text"),
    }[annotation]
    # A boolean is an integer to Python, but means something else.
    if not isinstance(value, abstract) or (isinstance(value, bool) and annotation is not bool):
        raise InputError(f"expected {word}. Received: {show(value)}")
    if annotation is int:
        value = int(value)
    elif annotation is float:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if annotation is not bool:
        allowed.check(value)


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
            f"expected one of {', '.join(choices)}.{_nearest(text[:80], choices)} "
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
            _check(value, annotation, allowed)
        except InputError as error:
            raise argparse.ArgumentTypeError(_named(error, name)) from None
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
    for word in argv:
        # argparse drops these two dashes wherever they are, and leaves the option empty.
        if word == "--" or word.partition("=")[2] == "--":
            parser.error(f"expected options and their values. Received: {show(word)}")
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].partition("=")[0][:80]
        nearest = _nearest(word.replace("_", "-"), names) if word.startswith("-") else ""
        parser.error(f"unknown option.{nearest} Received: {show(unknown[0])}")
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
