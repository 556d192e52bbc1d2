"""All targets: each module `targets_*.py` in this folder has a list `TARGETS`."""

import importlib
from pathlib import Path

from tests.attack.harness import Target


def all_targets() -> dict[str, Target]:
    """The targets by name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("targets_*.py")):
        for target in importlib.import_module(f"tests.attack.{path.stem}").TARGETS:
            assert target.name not in found, f"two targets are called {target.name}"
            found[target.name] = target
    return found
