"""How options are called: on the command line, and formerly."""

import dataclasses
import difflib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.values import show


def flag(name: str) -> str:
    """The option's spelling on the command line: `peak_lr` is `--peak-lr`."""
    return "--" + name.replace("_", "-")


def nearest(word: str, valid: Sequence[str]) -> str:
    """A sentence that names the valid word most like this one; `""` if none is like it."""
    # Compared without case, so that `--c` finds `--C`, and without the dashes that all have in
    # common, which would make any two short options alike.
    word = word.lower().lstrip("-")
    folded = {candidate.lower().lstrip("-"): candidate for candidate in valid}
    # `--lr` is `--peak-lr`, which no measure of likeness finds.
    close = [candidate for candidate in folded if word in candidate.split("-")]
    close = close or difflib.get_close_matches(word, list(folded), n=1, cutoff=0.5)
    return f" Did you mean {folded[close[0]]}?" if close else ""


def former_names(*classes: type) -> dict[str, str]:
    """The present name of each option that had another one, by its former name."""
    return {
        field.metadata["formerly"]: field.name
        for cls in classes
        for field in dataclasses.fields(cls)
        if field.metadata.get("formerly")
    }


_told: set[str] = set()


def _tell(former: str, present: str) -> None:
    """Says once in a process that an option has another name now."""
    if former not in _told:
        _told.add(former)
        print(f"The option {former} is now called {present}.", file=sys.stderr)


def with_present_names(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their present names, whichever names they have.

    Raises:
        InputError: If one is given by both names.

    Example:

    >>> from dataclasses import dataclass
    >>> from recipes.common.command_line.options import option
    >>> @dataclass
    ... class Config:
    ...     max_to_keep: int = option(2, "how many", low=1, formerly="keep")
    >>> with_present_names(Config, {"keep": 3})
    {'max_to_keep': 3}
    """
    present = former_names(cls)
    result = {}
    for name, value in values.items():
        if name in present:
            if present[name] in values:
                raise InputError(
                    f"`{name}` is the former name of `{present[name]}`; give one of them. "
                    f"Received: {name}={show(value)}, {present[name]}="
                    f"{show(values[present[name]])}"
                )
            _tell(name, present[name])
        result[present.get(name, name)] = value
    return result


class AcceptsFormerNames(type):
    """A metaclass for dataclasses of options: former names are accepted as keywords."""

    def __call__(cls, *args, **kwargs):
        return super().__call__(*args, **with_present_names(cls, kwargs))


def with_present_flag(word: str, former: Mapping[str, str]) -> str:
    """A word of the command line, with a former option replaced by the present one."""
    name, equals, value = word.partition("=")
    if name not in former:
        return word
    _tell(name, former[name])
    return former[name] + equals + value
