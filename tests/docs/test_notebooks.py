"""The example scripts of the documentation run, at a small size, and end with a result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "jax", reason="on one backend, that which starts fastest"
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_runs(script, tmp_path):
    """As `python docs/notebooks/NAME.py`, with a window to draw on that nobody sees."""
    pytest.importorskip("matplotlib")
    environment = os.environ | {
        "EXAMPLE_STEPS": "24",
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected = {"gpt_warmup": "Lowest validation loss:", "measuring_smoothness": "self-tuned:"}
    assert expected[script.stem] in done.stdout
    assert "nan" not in done.stdout


def test_there_are_two():
    """A script that is renamed would otherwise go untested without a word."""
    assert [path.stem for path in SCRIPTS] == ["gpt_warmup", "measuring_smoothness"]
