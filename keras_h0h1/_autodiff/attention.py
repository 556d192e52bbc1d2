"""Attention that can be differentiated twice."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Fused attention kernels have no second derivative: ask for the plain formula."""
    enabled = keras.config.is_flash_attention_enabled()
    keras.config.disable_flash_attention()
    try:
        yield
    finally:
        if enabled is None or enabled:
            keras.config.enable_flash_attention()
