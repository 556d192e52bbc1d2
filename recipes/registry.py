"""The recipes that `recipes.compare` can run. A new recipe is a package and a line here."""

import importlib

from recipes.common.command_line.errors import InputError
from recipes.common.recipe import Recipe

# Modules that have a `RECIPE`; imported when asked for.
RECIPES = {
    "gpt": "recipes.gpt.recipe",
    "vision": "recipes.vision.recipe",
}


def load_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: If there is none.

    Example:

    >>> load_recipe("gpt").seeds
    (0,)
    """
    if name not in RECIPES:
        raise InputError(
            f"There is no such recipe; there are {', '.join(RECIPES)}. Received: recipe={name!r}"
        )
    return importlib.import_module(RECIPES[name]).RECIPE
