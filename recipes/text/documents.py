"""Where the text comes from: the standard library by default, or the user's files and folders."""

import codecs
import dataclasses
import hashlib
import os
import platform
import re
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.files.reading import regular_file

SEPARATOR = "<|endoftext|>"

ENCODING = "utf-8"
ERRORS = ("strict", "replace", "skip")

SHARD_FILE = re.compile(r"(training|validation)-(\d{5,})\.u(16|32)")
"""The names of token shards."""

# Tests repeat one another, and packages differ from machine to machine. `encodings` holds
# generated tables, near-copies of one another: some would be held out while their twins are
# trained on.
_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_LEFT_OUT_OF_STDLIB = _LEFT_OUT | {"encodings"}


@dataclasses.dataclass(frozen=True)
class Documents:
    """Texts, with what to say about them.

    Args:
        texts: The documents, in a fixed order.
        source: One line for the log: which data, and how much of it.
    """

    texts: tuple[str, ...]
    source: str

    def split(self, validation_share: float) -> tuple[list[str], list[str]]:
        """Training and held-out documents.

        A document is held out by its content, so neither order, name nor machine matters, and
        two equal documents never end on different sides.
        """
        if len(self.texts) == 1:
            return _split_one(self.texts[0], validation_share)
        training, held_out = [], []
        for text in self.texts:
            (held_out if is_held_out(text, validation_share) else training).append(text)
        if not held_out or not training:
            # A handful of documents may all fall on one side.
            texts = training or held_out
            training, held_out = texts[:-1], texts[-1:]
        return training, held_out


def check_decoding(encoding: str, errors: str) -> None:
    """Makes sure that text can be read so.

    Raises:
        ValueError: If there is no such encoding of text, or `errors` is none of `ERRORS`.
    """
    try:
        known = codecs.lookup(encoding)
        # `rot13`, `zlib` and others turn bytes into bytes, or text into text.
        usable = known._is_text_encoding and known.incrementaldecoder is not None
        usable = usable and known.incrementaldecoder("strict").decode(b"", True) == ""
    except (LookupError, ValueError, TypeError, ImportError, NotImplementedError):
        usable = False
    if not usable:
        raise InputError(
            "There is no such encoding of text; utf-8, utf-16, latin-1, cp1252, shift_jis are "
            f"some. Received: encoding={encoding}"
        )
    if errors not in ERRORS:
        raise InputError(f"`errors` must be one of {', '.join(ERRORS)}. Received: errors={errors}")


def is_held_out(text: str, share: float) -> bool:
    """Whether this text belongs to the held-out `share` of all texts; its content decides."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def _split_one(text: str, share: float) -> tuple[list[str], list[str]]:
    """A single text has no documents to hold out: its end is, from a line break on."""
    cut = text.rfind("\n", 0, max(1, int(len(text) * (1 - share)))) + 1
    cut = cut or int(len(text) * (1 - share))
    if not 0 < cut < len(text):
        raise InputError(f"The text is too short to hold a part of it out. Received: {text[:40]!r}")
    return [text[:cut]], [text[cut:]]


def standard_library() -> Documents:
    """The Python files of the standard library: real code and prose, on every machine."""
    return _read(
        standard_library_files()[1],
        f"standard library of Python {platform.python_version()}, without tests and encodings",
    )


def standard_library_files() -> tuple[Path, list[Path]]:
    """The folder of the standard library, and its files without tests and encodings."""
    root = Path(sysconfig.get_path("stdlib"))
    return root, _files(root, "*.py", _LEFT_OUT_OF_STDLIB)


def find_files(folder: Path) -> list[Path]:
    """All files in a folder and below, in a fixed order, without tests and hidden ones."""
    return _files(folder, "*", _LEFT_OUT)


def read_paths(paths: Sequence[str]) -> Documents:
    """Text files, and all text files in folders; hidden ones are left out.

    A file with the line `<|endoftext|>` in it holds several documents. Files in folders that are
    not UTF-8 text are left out, and `source` names some of them.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If there is no text in them, or a file that is named is not UTF-8 text.
    """
    files, named = [], set()
    for name in paths:
        path = Path(name).expanduser()
        if not os.path.exists(path):
            raise MissingInputError(f"No such file or folder. Received: data={name}")
        if path.is_dir():
            files += find_files(path)
        else:
            files.append(path)
            named.add(path)
    return _read(files, ", ".join(paths), named)


def _files(root: Path, pattern: str, left_out: set[str]) -> list[Path]:
    found = []
    for path in root.rglob(pattern):
        parts = path.relative_to(root).parts
        if SHARD_FILE.fullmatch(path.name):
            raise InputError(
                "A folder of text is expected; this one has token shards in it. "
                f"Received: data={root}, which has {'/'.join(parts)}"
            )
        if path.is_file() and not any(p in left_out or p.startswith(".") for p in parts):
            found.append(path)
    # By the parts of the path: the order is the same whatever the file system and the separator.
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def describe_skipped(skipped: Sequence[tuple[str, str]]) -> str:
    """How many files were left out, and for the first of them which and why; "" for none."""
    if not skipped:
        return ""
    first = ", ".join(f"{name}: {reason}" for name, reason in skipped[:3])
    more = ", ..." if len(skipped) > 3 else ""
    return f"{len(skipped)} files skipped that are not text ({first}{more})"


def _read(files: Sequence[Path], source: str, named: frozenset | set = frozenset()) -> Documents:
    texts, skipped = [], []
    for path in files:
        reason = None
        try:
            text = regular_file(path).read_bytes().decode(ENCODING)
            if "\0" in text:
                reason = "zero characters in it"
        except UnicodeDecodeError:
            reason = f"not {ENCODING}"
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
        if reason and path in named:
            raise InputError(
                f"The file is not text: {reason}. python -m recipes.tokenize reads other "
                f"encodings. Received: data={path}"
            )
        if reason:
            skipped.append((path.name, reason))
            continue
        parts = (part.strip("\n") for part in text.split(SEPARATOR))
        texts += [part for part in parts if part.strip()]
    note = describe_skipped(skipped)
    if not texts:
        raise InputError(
            f"No UTF-8 text was found there{'; ' if note else ''}{note}. Received: data={source}"
        )
    size = sum(len(text.encode("utf-8")) for text in texts) / 1e6
    note = f", {note}" if note else ""
    return Documents(tuple(texts), f"{source}: {len(texts)} documents, {size:.1f} MB{note}")
