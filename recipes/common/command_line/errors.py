"""The errors that a user can correct: wrong options, missing or damaged files, a full disk.

`console.one_line_errors` prints them as one line and ends with status 2. Any other exception is a
bug of the program and keeps its traceback.
"""


class InputError(ValueError):
    """What the user gave, an option, a file or a folder, cannot be used.

    The message says what is wrong, what is expected, and ends in `Received: ...`.
    """


class MissingInputError(InputError, FileNotFoundError):
    """A file or folder that the user named does not exist."""


def printable(message: str) -> str:
    """The message on one line: line breaks and other control characters are escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none.

    Some libraries put the data into their messages, however long it is: it is shortened.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 300 else f"{line[:297]}..."
