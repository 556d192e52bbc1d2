"""Every example in the theory's docstrings runs and says what it says."""

import doctest
import importlib
import pkgutil

import pytest

from keras_h0h1 import theory

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(theory.__path__, theory.__name__ + ".")
)


@pytest.mark.parametrize("name", [theory.__name__, *MODULES])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_every_public_class_and_function_has_an_example():
    from keras_h0h1.theory import (
        bounds,
        bounds_noise,
        bounds_power,
        certify,
        descent,
        problems,
        smoothness,
    )

    public = [getattr(problems, name) for name in problems.__all__ if name != "Problem"]
    public += [certify.find_violation, certify.find_model_violation, descent.rule]
    public += [descent.descend, smoothness.Smoothness]
    for module in (bounds, bounds_noise, bounds_power):
        public += [
            v for k, v in vars(module).items() if callable(v) and k.islower() and k[0] != "_"
        ]
    for thing in public:
        assert ">>> " in thing.__doc__, thing
