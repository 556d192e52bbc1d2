"""No lower bound of a dependency admits a version with a hole in `tests/known_holes.toml`."""

import datetime
import re
import tomllib
from pathlib import Path

import pytest

from tests.backends import only_on
from tests.lowest import constraints

pytestmark = only_on("jax", reason="no backend: once is enough")

ROOT = Path(__file__).parents[2]
HOLES = tomllib.loads((ROOT / "tests/known_holes.toml").read_text())
NONE_FOUND = HOLES.pop("none_found")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _dependencies() -> list[str]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    groups.append(pyproject["build-system"]["requires"])
    return [dependency for group in groups for dependency in group]


@pytest.mark.parametrize("name", HOLES)
def test_lower_bound(name):
    found = [d for d in _dependencies() if re.match(r"[\w-]+", d)[0] == name]
    assert found and HOLES[name]["reason"]
    for dependency in found:
        bound = re.search(r">=([\d.]+)", dependency)[1]
        assert _numbers(bound) >= _numbers(HOLES[name]["first"]), dependency


def test_every_dependency_was_looked_at():
    looked = {name: text for name, text in NONE_FOUND.items() if name != "looked_at"}
    names = {re.match(r"[\w-]+", d)[0] for d in _dependencies()}
    assert names == set(HOLES) | set(looked)
    assert not set(HOLES) & set(looked) and all(looked.values())
    assert datetime.date.fromisoformat(NONE_FOUND["looked_at"]).year >= 2026


def test_the_lowest_versions_are_the_bounds():
    """Of the dependencies that the tests can be run with; each has a bound."""
    project = {
        "dependencies": ["b[x]>=2", "a>=1.10"],
        "optional-dependencies": {"t": ["a>=1.9", "c>=3.0.1,<4"], "aot-tpu": ["a>=3"]},
    }
    assert constraints(project) == ["a==1.10", "b==2", "c==3.0.1"]
    project["dependencies"].append("d")
    with pytest.raises(ValueError, match="d has no lower bound"):
        constraints(project)
