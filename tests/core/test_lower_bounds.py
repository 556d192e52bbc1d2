"""No lower bound of a dependency admits a version with a hole in `tests/known_holes.toml`."""

import re
import tomllib
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
HOLES = tomllib.loads((ROOT / "tests/known_holes.toml").read_text())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="no backend: once is enough")
@pytest.mark.parametrize("name", HOLES)
def test_lower_bound(name):
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    groups.append(pyproject["build-system"]["requires"])
    listed = [dependency for group in groups for dependency in group]
    found = [d for d in listed if re.match(r"[\w-]+", d)[0] == name]
    assert found and HOLES[name]["reason"]
    for dependency in found:
        bound = re.search(r">=([\d.]+)", dependency)[1]
        assert _numbers(bound) >= _numbers(HOLES[name]["first"]), dependency
