"""Fails if a module has functions and the tests ran none: `python -m tests.covered coverage.json`.

The file is a JSON report of the package `coverage`. Importing a module runs its first lines; what
counts here are lines inside of functions.
"""

import json
import sys
from pathlib import Path


def untested(report: dict) -> list[str]:
    """Files of the report in which no line inside of a function was executed.

    Example: one module with an executed function, one that was imported, one without functions.

    >>> def file(**functions):
    ...     return {"functions": {k: {"executed_lines": v} for k, v in functions.items()}}
    >>> files = {"a.py": file(f=[2], g=[]), "b.py": file(f=[]), "c.py": {"functions": {"": {}}}}
    >>> untested({"files": files})
    ['b.py']
    """
    found = []
    for name, file in report["files"].items():
        # The entry "" is what lies outside of functions.
        functions = [entry for key, entry in file["functions"].items() if key]
        if functions and not any(entry["executed_lines"] for entry in functions):
            found.append(name)
    return sorted(found)


def main(path: str) -> int:
    """Prints the modules that are missing and returns the exit status."""
    report = json.loads(Path(path).read_text("utf-8"))
    missing = untested(report)
    for name in missing:
        print(f"{name}: no test in tests/fast.txt runs a function of it")
    if not missing:
        print(f"{len(report['files'])} modules, in each of which functions were run")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
