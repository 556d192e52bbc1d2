"""The theory's experiments: `python -m recipes.theory` runs them all and draws each."""
