"""A GPT so small that it trains in seconds, on text that is made here."""

import keras
import numpy as np
import pytest

from recipes.common.results.run_folder import RunFolder
from recipes.gpt import model as models

TINY = models.Size(layers=1, width=16, heads=2, intermediate=24)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """Nothing is read from or written to the user's cache or the repository."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def text_folder(tmp_path):
    """Forty documents of words whose frequencies differ, so that there is something to learn."""
    rng = np.random.default_rng(0)
    words = np.array("the a of loss rate step falls rises slowly fast model learns".split())
    shares = 1.0 / np.arange(1, len(words) + 1)
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(40):
        chosen = rng.choice(words, size=120, p=shares / shares.sum())
        (folder / f"{i:02}.txt").write_text(" ".join(chosen) + ".\n")
    return folder


@pytest.fixture
def tiny_options(text_folder, tmp_path, monkeypatch, backend):
    """Options of a run of six updates, as a list for the command line.

    XLA takes TensorFlow longer to compile than the whole run; one test switches it on.
    """
    monkeypatch.setitem(models.SIZES, "demo", TINY)
    return [
        f"--data={text_folder}",
        "--vocabulary=300",
        "--context=8",
        "--batch-size=4",
        "--steps=6",
        "--eval-every=2",
        "--eval-tokens=64",
        "--sample-tokens=4",
        "--peak-lr=0.01",
        "--jit=off" if backend == "tensorflow" else "--jit=auto",
        f"--runs={tmp_path / 'runs'}",
    ]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")
