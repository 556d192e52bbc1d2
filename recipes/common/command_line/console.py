"""Where programs print, and how they end where the user can help it. Imports no Keras."""

import sys

from rich.console import Console

from recipes.common.command_line.errors import InputError, printable
from recipes.common.files.writing import StorageError, storage_reason


def make_console() -> Console:
    """Where a program prints; in a log file, wide enough for a table.

    What is in brackets is printed as it is: a folder may be called `[b]`.
    """
    return Console(markup=False, width=None if sys.stdout.isatty() else 140)


class one_line_errors:
    """Ends the program with one line where the user can help it: wrong values, missing files.

    Ctrl-C ends it with status 130, as the shell's own programs.
    """

    def __init__(self, program: str):
        self.program = program

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is KeyboardInterrupt:
            print(f"{self.program}: stopped.", file=sys.stderr)
            sys.exit(130)
        message = user_error(error)
        if message is not None:
            print(f"{self.program}: error: {printable(message)}", file=sys.stderr)
            sys.exit(2)


def user_error(error: BaseException | None) -> str | None:
    """The message of an error that the user can correct; `None` for any other, which is a bug."""
    if isinstance(error, InputError | StorageError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        # What the system refused; where nothing better is known, its own words name the reason.
        reason = storage_reason(error)
        if reason is not None:
            return f"{reason}. Received: {error.filename}"
        return f"{error.strerror}. Received: {error.filename}"
    # The library's own checks raise built-in classes, as Keras does.
    if isinstance(error, ValueError | TypeError | ImportError | OSError):
        if "Received:" in str(error):
            return str(error)
    return None
