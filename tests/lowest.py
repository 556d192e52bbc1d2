"""Prints the lowest versions that pyproject.toml allows, as constraints for pip.

    python -m tests.lowest > build/lowest.txt
    python -m pip install -c build/lowest.txt -e ".[tensorflow,jax,recipes,data,cv,test]"

`make lowest` makes an environment of them and runs tests/core and tests/curvature in it.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Compilers of other machines want a JAX of their own: their bounds are no part of the environment.
APART = ("aot-tpu", "aot-gpu")


def constraints(project: dict) -> list[str]:
    """One line `name==version` for each dependency; the highest of its lower bounds.

    Raises:
        ValueError: If a dependency has no lower bound, or another kind of bound.
    """
    groups = [project["dependencies"]]
    groups += [g for name, g in project["optional-dependencies"].items() if name not in APART]
    lowest: dict[str, str] = {}
    for requirement in (entry for group in groups for entry in group):
        parts = re.fullmatch(r"([\w.-]+)(?:\[.*?\])?>=([\d.]+)(?:,<[\d.]+)?", requirement)
        if parts is None:
            raise ValueError(f"{requirement} has no lower bound that can be read")
        name, version = parts.groups()
        lowest[name] = max(version, lowest.get(name, "0"), key=_numbers)
    return [f"{name}=={version}" for name, version in sorted(lowest.items())]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    print(*constraints(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]), sep="\n")
