"""Models whose weights have shapes but no values: to compile, not to train."""

from collections.abc import Callable

import keras


def deferred(build: Callable[[], keras.Model]) -> keras.Model:
    """A model whose weights have shapes but no values, where the backend can do without."""
    if keras.backend.backend() != "jax":
        return build()
    # Keras makes values when the scope ends, unless told not to.
    with keras.StatelessScope(initialize_variables=False):
        return build()
