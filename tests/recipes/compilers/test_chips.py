"""Figures of accelerators that follow from one another, and the pages that state them."""

import inspect

import pytest

from recipes.compilers import chips
from recipes.compilers.chips import CHIPS
from recipes.gpt.cost import HARDWARE

# Multiply-adds in a cycle: matrix units of 128 x 128, or multiprocessors with their tensor cores.
PER_CYCLE = {
    "tpu-v4": 8 * 128**2, "tpu-v5e": 4 * 128**2, "tpu-v5p": 8 * 128**2,
    "a100": 108 * 1024, "h100": 132 * 2048, "h200": 132 * 2048,
}  # fmt: skip


@pytest.mark.parametrize("name", CHIPS)
def test_the_peak_is_that_of_the_clock(name):
    chip = CHIPS[name]
    reached = 2 * PER_CYCLE[name] * chip.clock
    if name in ("h100", "h200"):
        # Their matrix units do not run at the highest clock.
        reached *= 1.83 / 1.98
    assert reached == pytest.approx(chip.flops, rel=2e-3)
    assert HARDWARE[name] == chip.flops


def test_every_chip_has_a_page():
    text = inspect.getsource(chips)
    for title in ("TPU v4", "TPU v5e", "TPU v5p", "A100", "H100", "NVIDIA H200"):
        assert f'# "{title}", ' in text
