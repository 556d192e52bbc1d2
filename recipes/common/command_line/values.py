"""What the value of an option may be, and how it is shown in an error."""

import dataclasses
import math
import numbers
import struct
import types
import typing
from pathlib import Path
from typing import Any, Literal

from recipes.common.command_line.errors import InputError, printable

# Integers that NumPy, TensorFlow and CSV readers hold, and numbers that are neither infinite nor
# zero in float32, whatever the option.
_INT_MAX = 2**63 - 1
_FLOAT32_MAX, _FLOAT32_TINY = 3.4028234e38, 1.1754944e-38
# As file systems have them, in bytes; the program adds to a name what it writes there.
_NAME_MAX, _PATH_MAX = 255, 4095
_ROOM = 55

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


def with_name(error: InputError, name: str) -> str:
    """The error's message with the option's name before the value."""
    message, received, value = str(error).rpartition("Received: ")
    return f"{message}{received}{name}={value}"


def check_value(value: Any, annotation: Any, allowed: Allowed, default: Any = None) -> None:
    """Returns if the value has the annotated type and is allowed; else raises `InputError`."""
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
            check_value(element, arguments[0], allowed)
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
