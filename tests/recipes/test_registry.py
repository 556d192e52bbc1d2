"""A recipe, a data set or a model is one file and one line: nothing is defined and left out."""

import dataclasses
import importlib
import typing
from pathlib import Path

import pytest

import recipes
from recipes.common.recipe import Recipe
from recipes.gpt.architectures import ARCHITECTURES, Architecture
from recipes.gpt.config import DEFAULTS, defaults_of
from recipes.gpt.model import SIZES
from recipes.registry import RECIPES, load_recipe
from recipes.vision.data import DATASETS, DataSet, find_dataset
from recipes.vision.families import MODELS, Shape

ROOT = Path(recipes.__file__).parent


@pytest.fixture(autouse=True)
def _one_backend(backend):
    if backend != "jax":
        pytest.skip("nothing here depends on the backend")


def defined(pattern, kind):
    """All objects of a class that modules below `recipes` define by name."""
    found = []
    for path in sorted(ROOT.glob(pattern)):
        name = ".".join(("recipes", *path.relative_to(ROOT).with_suffix("").parts))
        module = importlib.import_module(name)
        found += [value for value in vars(module).values() if isinstance(value, kind)]
    return found


def test_every_recipe_is_registered():
    assert {recipe.name for recipe in defined("*/recipe.py", Recipe)} == set(RECIPES)
    with pytest.raises(ValueError, match="Received: recipe='chess'"):
        load_recipe("chess")


@pytest.mark.parametrize(
    ("pattern", "base", "registered"),
    [
        ("gpt/architectures/*.py", Architecture, ARCHITECTURES),
        ("vision/families/*.py", Shape, MODELS),
    ],
)
def test_every_architecture_and_family_is_registered(pattern, base, registered):
    classes = {kind for kind in defined(pattern, type) if issubclass(kind, base)}
    assert classes - {base} == {type(entry) for entry in registered.values()}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_declares_its_part_in_comparisons(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    fields = {field.name for field in dataclasses.fields(recipe.config)}
    assert set(recipe.single_run_options) <= fields
    if recipe.compared:
        option, values = recipe.compared
        assert option not in recipe.single_run_options
        assert set(values) <= set(typing.get_args(typing.get_type_hints(recipe.config)[option]))


def test_every_data_set_is_registered():
    registered = [find_dataset(name) for name in DATASETS]
    assert {id(each) for each in defined("vision/data/*.py", DataSet)} == set(map(id, registered))
    for dataset in registered:
        assert dataset.epochs > 0 and min(dataset.quick) > 0 and callable(dataset.load)


def test_a_new_size_of_gpt_is_one_line(monkeypatch):
    assert all(defaults_of(size) == DEFAULTS[size] for size in DEFAULTS)
    monkeypatch.setitem(SIZES, "410m-again", SIZES["410m"])
    found, known = defaults_of("410m-again"), DEFAULTS["410m"]
    # Twenty tokens for each of 411,304,960 parameters, in updates of 256 x 1024.
    assert found == known | {"steps": round(20 * 411_304_960 / (256 * 1024))}
