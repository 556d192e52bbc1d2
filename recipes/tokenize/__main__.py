"""`python -m recipes.tokenize`."""

from recipes.tokenize.recipe import main

if __name__ == "__main__":
    main()
