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
    has_examples = name.rsplit(".", 1)[-1] in (
        "step_sizes", "loss_adaptive", "smoothness", "loss_aware", "loss_scale_optimizer",
        "adaptive_gd", "learning_rate_logger", "loss_adaptive_warmup",
        "polyak", "norm_constrained", "polyak_sgd", "alig", "ngn", "ngnm", "ngnmd", "momo",
        "momo_adam",
    )  # fmt: skip
    assert (result.attempted > 0) == has_examples


def test_the_public_face_is_documented():
    for name in keras_h0h1.__all__:
        assert name == "__version__" or getattr(keras_h0h1, name).__doc__, name
