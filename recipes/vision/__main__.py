"""`python -m recipes.vision`."""

from recipes.vision.recipe import RECIPE

if __name__ == "__main__":
    RECIPE.main()
