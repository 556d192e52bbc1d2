"""Where the text comes from: the standard library by default, or the user's files and folders."""

import dataclasses
import hashlib
import platform
import sysconfig
from collections.abc import Sequence
from pathlib import Path

SEPARATOR = "<|endoftext|>"

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


def is_held_out(text: str, share: float) -> bool:
    """Whether this text belongs to the held-out `share` of all texts; its content decides."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def _split_one(text: str, share: float) -> tuple[list[str], list[str]]:
    """A single text has no documents to hold out: its end is, from a line break on."""
    cut = text.rfind("\n", 0, max(1, int(len(text) * (1 - share)))) + 1
    cut = cut or int(len(text) * (1 - share))
    if not 0 < cut < len(text):
        raise ValueError(f"The text is too short to hold a part of it out. Received: {text[:40]!r}")
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

    A file with the line `<|endoftext|>` in it holds several documents.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If there is no text in them.
    """
    files = []
    for name in paths:
        path = Path(name).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"No such file or folder. Received: data={name}")
        files += find_files(path) if path.is_dir() else [path]
    return _read(files, ", ".join(paths))


def _files(root: Path, pattern: str, left_out: set[str]) -> list[Path]:
    found = []
    for path in root.rglob(pattern):
        parts = path.relative_to(root).parts
        if path.is_file() and not any(p in left_out or p.startswith(".") for p in parts):
            found.append(path)
    # By the parts of the path: the order is the same whatever the file system and the separator.
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _read(files: Sequence[Path], source: str) -> Documents:
    texts, skipped = [], 0
    for path in files:
        try:
            text = path.read_bytes().decode("utf-8")
        except (UnicodeDecodeError, OSError):
            skipped += 1
            continue
        if "\0" in text:
            skipped += 1
            continue
        parts = (part.strip("\n") for part in text.split(SEPARATOR))
        texts += [part for part in parts if part.strip()]
    if not texts:
        raise ValueError(f"No UTF-8 text was found there. Received: data={source}")
    size = sum(len(text.encode("utf-8")) for text in texts) / 1e6
    note = f", {skipped} files skipped that are not UTF-8 text" if skipped else ""
    return Documents(tuple(texts), f"{source}: {len(texts)} documents, {size:.1f} MB{note}")
