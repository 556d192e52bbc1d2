"""Every example in a docstring of the recipes and of the measurements runs and is right."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("recipes", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
}
# A module without one does not have to be imported here: some are commands, some need an extra.
MODULES = [name for name, path in FILES.items() if ">>> " in path.read_text("utf-8")]
# Their examples open a folder that a run left, and are marked as skipped;
# `tests/recipes/test_export.py` does the same with one.
OF_A_RUN = ("recipes.gpt.export", "recipes.vision.export")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    # An example in a string that is no docstring would never run.
    ran = result.attempted - getattr(result, "skipped", 0)  # of Python 3.13
    assert ran > 0 or name in OF_A_RUN


def test_the_packages_are_searched():
    assert {"recipes.registry", "recipes.gpt.model", "benchmarks.measuring"} <= set(MODULES)
