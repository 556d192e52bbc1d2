"""A seeded part of `python -m tests.attack.options`: whole runs with absurd values."""

from pathlib import Path

import keras
import pytest

from tests.attack.options import attack_all, texts
from tests.attack.programs import programs, write_inputs

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="options do not depend on the backend, and JAX's threads do not survive a fork",
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


NAMES = [program.name for program in programs(Path())]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_refused_in_one_line_or_means_what_was_asked(name, inputs):
    program = next(program for program in programs(inputs) if program.name == name)
    seen = {"refused": 0, "ran": 0}
    for cls, field in program.options[:: max(2, len(program.options) // 4)]:
        values = texts(program, cls, field, inputs, count=3, seed=0)
        for text, (kind, said) in zip(
            values, attack_all(program, cls, field, values, short=True), strict=True
        ):
            assert kind in seen, f"--{field.name}={text!r:.80}: {said}"
            seen[kind] += 1
    assert seen["refused"]
