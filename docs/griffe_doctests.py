"""A Griffe extension: doctests stand in code blocks, sources in a list."""

import re

import griffe

# From the first prompt to the next blank line or the end.
_DOCTEST = re.compile(r"^(?P<indent> *)>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_REFERENCES = re.compile(r"^References:\n(?P<body>(?: +.*\n?)+)", re.MULTILINE)


class Doctests(griffe.Extension):
    """Rewrites the docstrings' layout, not their words."""

    def on_instance(self, *, obj, **_):
        """Called for each object after it was loaded."""
        if obj.docstring:
            obj.docstring.value = rewrite(obj.docstring.value)


def rewrite(text: str) -> str:
    r"""A docstring with its doctests fenced and its references as a Markdown list.

    >>> rewrite("One.\n\n>>> 1").splitlines()
    ['One.', '', '```pycon', '>>> 1', '```']
    """
    return _REFERENCES.sub(_listed, _DOCTEST.sub(_fenced, text))


def _fenced(match) -> str:
    indent = match["indent"]
    return f"{indent}```pycon\n{match[0].rstrip()}\n{indent}```"


def _listed(match) -> str:
    lines = match["body"].rstrip("\n").split("\n")
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    items = []
    for line in lines:
        # An entry ends with a full stop; a deeper indentation continues one.
        if items and (line[margin] == " " or not items[-1].endswith(".")):
            items[-1] += " " + line.strip()
        else:
            items.append(line.strip())
    return "**References**\n\n" + "\n".join(f"* {item}" for item in items) + "\n"
