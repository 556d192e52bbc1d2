"""The harness finds what it is there to find."""

import os
import signal
import time

import pytest

from recipes.common.command_line.errors import InputError
from tests.attack import harness
from tests.attack.harness import Target, attack, attempt
from tests.backends import only_on

pytestmark = only_on("tensorflow", reason="readers do not depend on the backend")


def _hides_memory_error(folder):
    try:
        return len(bytearray(2**32))
    except Exception:
        raise InputError(f"It cannot be read. Received: {folder}") from None


def _names_memory_error(folder):
    raise InputError(f"It is damaged (ArrowMemoryError: malloc of size 8589934592). {folder}")


def _computes(folder):
    while True:
        pass


def _raises(error):
    def read(folder):
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda folder: 1, "read"),
        (_raises(InputError("Wrong. Received: it")), "refused"),
        (_raises(ValueError("Wrong.")), "traceback"),
        (_raises(RecursionError()), "traceback"),
        (lambda folder: len(bytearray(2**32)), "memory"),
        (_hides_memory_error, "memory"),
        (_names_memory_error, "memory"),
        (_computes, "hang"),
        (lambda folder: time.sleep(60), "hang"),
        (lambda folder: os.kill(os.getpid(), signal.SIGKILL), "crash"),
    ],
)
def test_each_outcome_is_told(read, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "SECONDS", 1)
    monkeypatch.setattr(harness, "WAITING", 2)
    assert attempt(Target("probe", lambda _: [], read), tmp_path)[0] == kind


def test_one_bad_input_in_a_batch_is_the_one_that_is_counted(monkeypatch):
    monkeypatch.setattr(harness, "SECONDS", 1)

    def write(folder):
        (folder / "a").write_bytes(bytes(300))
        return [folder / "a"]

    def read(folder):
        content = (folder / "a").read_bytes()
        if len(content) < 150:
            os.kill(os.getpid(), signal.SIGKILL)
        end = time.process_time() + 2.0 * (len(content) > 1500)
        while time.process_time() < end:
            pass
        return len(content)

    counts = attack(Target("probe", write, read, lambda sound, other: True), 60)
    assert counts.tried == 60 and counts.unchanged > 20
    sizes = {line.rsplit(": ", 1)[1].split(" ")[0] for line in counts.wrong}
    assert sizes == {"died", "took"}
