"""`python -m recipes.gpt`."""

from recipes.gpt.recipe import RECIPE

if __name__ == "__main__":
    RECIPE.main()
