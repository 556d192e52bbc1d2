"""`python -m recipes.smoothness`."""

from recipes.smoothness.recipe import main

if __name__ == "__main__":
    main()
