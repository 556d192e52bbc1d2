"""Where programs print, and how they end where the user can help it. Imports no Keras."""

import sys

from rich.console import Console


def make_console() -> Console:
    """Where a recipe prints; in a log file, wide enough for a table."""
    return Console() if sys.stdout.isatty() else Console(width=140)


class one_line_errors:
    """Ends the program with one line where the user can help it: wrong values, missing files."""

    def __init__(self, program: str):
        self.program = program

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        # Only errors that this project words itself end in `Received:`; others are bugs, and
        # show where they come from.
        kinds = (ValueError, TypeError, OSError, ImportError)
        if isinstance(error, kinds) and "Received:" in str(error):
            print(f"{self.program}: error: {error}", file=sys.stderr)
            sys.exit(2)
