"""Each point of `tests/points.py` has tests, and they exist."""

import ast
from pathlib import Path

import pytest

from tests.backends import only_on
from tests.points import POINTS

pytestmark = only_on("jax", reason="names do not depend on the backend")

TESTS = Path(__file__).parent


def _functions(path: Path) -> set[str]:
    """Test functions of a file; it is not imported."""
    body = ast.parse(path.read_text("utf-8")).body if path.exists() else []
    return {n.name for n in body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_the_tests_of_a_point_exist(point):
    assert point.holds and point.tests
    for test in point.tests:
        file, _, name = test.partition("::")
        assert name in _functions(TESTS / file), test


def test_no_point_is_left_out():
    names = [point.name for point in POINTS]
    assert len(set(names)) == len(names)
    assert {int(name.split()[0]) for name in names} == set(range(1, 22))


def test_a_name_that_is_none_is_found():
    assert "test_no_point_is_left_out" in _functions(Path(__file__))
    assert "test_that_is_none" not in _functions(Path(__file__))
    assert _functions(TESTS / "no_such_file.py") == set()
