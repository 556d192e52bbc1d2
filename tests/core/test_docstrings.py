"""Every example in a public docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import keras_h0h1

# The other packages have such a test of their own.
ELSEWHERE = ("keras_h0h1.curvature", "keras_h0h1.suggestion", "keras_h0h1.theory")

MODULES = [
    module.name
    for module in pkgutil.walk_packages(keras_h0h1.__path__, prefix="keras_h0h1.")
    if not module.name.startswith(ELSEWHERE)
    # Only the active backend's can be imported everywhere.
    and not module.name.startswith("keras_h0h1._autodiff.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    # Packages, private modules, and what is documented by the class or package that uses it.
    without = (
        "schedules",
        "optimizers",
        "callbacks",
        "base",
        "based",
        "spike_guard",
        "momentum_model",
        "probe_modes",
        "gradient_difference",
        "hessian",
        "scalar_writer",
        "validation",
        "based",
    )
    short = name.rsplit(".", 1)[-1]
    assert result.attempted > 0 or short in without or "._" in name


def test_the_public_face_is_documented():
    for name in keras_h0h1.__all__:
        assert name == "__version__" or getattr(keras_h0h1, name).__doc__, name
