"""Fails if a module has functions and the tests ran none: `python -m tests.covered coverage.json`.

The file is a JSON report of the package `coverage`. Importing a module runs its first lines; what
counts here are lines inside of functions.
"""

import json
import sys
from pathlib import Path

# What one backend on any machine cannot run.
ELSEWHERE = {
    "keras_h0h1/_autodiff/tensorflow.py": "TensorFlow's derivatives",
    "keras_h0h1/_autodiff/torch.py": "PyTorch's derivatives",
    "recipes/common/distribution/_keras_tensorflow.py": "tf.distribute",
    "recipes/compilers/chips.py": "needs the compiler of another accelerator",
    "recipes/compilers/report.py": "needs the compiler of another accelerator",
}


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
    missing = [name for name in untested(report) if name not in ELSEWHERE]
    unknown = sorted(set(ELSEWHERE) - set(report["files"]))
    for name in unknown:
        print(f"{name}: excepted in tests/covered.py, but there is no such module")
    for name in missing:
        print(f"{name}: no test in tests/fast.txt runs a function of it")
    if missing or unknown:
        return 1
    print(f"{len(report['files'])} modules, {len(ELSEWHERE)} excepted; functions of all others ran")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
