"""Every example of the package runs, and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import keras_h0h1.suggestion

MODULES = [
    f"keras_h0h1.suggestion.{module.name}"
    for module in pkgutil.iter_modules(keras_h0h1.suggestion.__path__)
] + ["keras_h0h1.callbacks.suggest_learning_rate"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
