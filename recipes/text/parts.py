"""Documents in parts of bounded length, and text files that are read so."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recipes.common.command_line.errors import InputError, first_line
from recipes.common.files.reading import regular_file
from recipes.text.documents import SEPARATOR

PART = 2**20
"""Characters of a document that are handled at once; a longer one is cut into such parts."""

_BLOCK = 2**20


class Part(NamedTuple):
    """A document, or a part of a long one.

    Args:
        text: Never blank.
        last: Whether the document ends here.
        done: Share of the input that has been read, for the progress bar.
    """

    text: str
    last: bool
    done: float


def _cut(text: str, limit: int) -> int:
    """Where the first part of `text` ends: at most at `limit`."""
    # The last place is wanted, and it is nearly always close to the end.
    for first in (limit - 2**12, limit // 2):
        places = re.finditer(r"(?<=\S)[ \n]", text[max(first, 1) - 1 : limit])
        found = [place.start() for place in places]
        if found:
            return max(first, 1) - 1 + found[-1]
    return limit


# Events are pairs of text and the share read so far; a text of `None` ends the document.
Events = Iterator[tuple[str | None, float]]


def with_ends(events: Events) -> Iterator[Part]:
    """Holds each part back until it is known whether more of its document follows."""
    held = None
    for text, done in events:
        if text is None:
            if held is not None:
                yield Part(held, True, done)
            held = None
        elif text and not text.isspace():
            if held is not None:
                yield Part(held, False, done)
            held = text


def record_events(records: Iterator[tuple[str, float]], limit: int) -> Events:
    """Texts that are in memory already, cut into parts."""
    for text, done in records:
        start = 0
        while len(text) - start > limit:
            end = start + _cut(text[start : start + limit], limit)
            yield text[start:end], done
            start = end
        yield text[start:], done
        yield None, done


def text_events(path: Path, encoding: str, errors: str, limit: int) -> Events:
    """A text file, without ever holding more of it than `limit` characters and a block."""
    path = regular_file(path)
    size = max(path.stat().st_size, 1)
    with path.open("rb") as raw:
        # Line ends stay as they are.
        file = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")

        def blocks():
            try:
                while block := file.read(_BLOCK):
                    yield block
            except UnicodeError as error:
                raise InputError(
                    f"The file is no longer {encoding} text ({first_line(error)}). "
                    f"Received: data={path}"
                ) from None

        rest, fresh = "", True
        for block in blocks():
            rest += block
            *whole, rest = rest.split(SEPARATOR)
            done = min(raw.tell() / size, 1.0)
            for text in whole:
                text = text.strip("\n") if fresh else text.rstrip("\n")
                yield from record_events(iter([(text, done)]), limit)
                fresh = True
            if fresh:
                rest = rest.lstrip("\n")
            # Not so far that half a separator is given away.
            while len(rest) > limit + len(SEPARATOR):
                end = _cut(rest[:limit], limit)
                yield rest[:end], done
                rest, fresh = rest[end:], False
        yield from record_events(iter([(rest.rstrip("\n"), 1.0)]), limit)
