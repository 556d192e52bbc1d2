"""Every example in a public docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import keras_h0h1

MODULES = [
    module.name
    for module in pkgutil.walk_packages(keras_h0h1.__path__, prefix="keras_h0h1.")
    if module.name.startswith(
        (
            "keras_h0h1.step_sizes",
            "keras_h0h1.warmup_factors",
            "keras_h0h1.self_tuning",
            "keras_h0h1.online_constants",
            "keras_h0h1.polyak",
            "keras_h0h1.schedules",
            "keras_h0h1.optimizers",
        )
    )
    or module.name
    in ("keras_h0h1.callbacks.learning_rate_logger", "keras_h0h1.callbacks.loss_adaptive_warmup")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    # Packages, private modules, and what is documented by the class that uses it.
    without = (
        "schedules",
        "optimizers",
        "callbacks",
        "base",
        "based",
        "spike_guard",
        "momentum_model",
        "smoothness_probe",
    )
    short = name.rsplit(".", 1)[-1]
    assert result.attempted > 0 or short in without or short.startswith("_")


def test_the_public_face_is_documented():
    for name in keras_h0h1.__all__:
        assert name == "__version__" or getattr(keras_h0h1, name).__doc__, name
