"""Every example in the curvature package runs, and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import keras_h0h1.curvature

MODULES = [
    f"keras_h0h1.curvature.{module.name}"
    for module in pkgutil.iter_modules(keras_h0h1.curvature.__path__)
] + ["keras_h0h1.callbacks.smoothness_probe"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
