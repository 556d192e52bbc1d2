"""`python -m recipes.theory`."""

from recipes.theory.recipe import main

if __name__ == "__main__":
    main()
