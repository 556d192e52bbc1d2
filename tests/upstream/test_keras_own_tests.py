"""Keras' own tests of its optimizers, run on optimizers that are wrapped in `LossAware`.

It takes about a minute and a half a backend: `make upstream`, or KERAS_H0H1_UPSTREAM=1.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree

import keras
import pytest

from tests.upstream.expected_failures import EXPECTED

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("KERAS_H0H1_UPSTREAM") != "1",
        reason="takes a minute and a half: set KERAS_H0H1_UPSTREAM=1, or `make upstream`",
    ),
    pytest.mark.skipif(
        keras.backend.backend() not in ("jax", "tensorflow"),
        reason="the list of expected failures is that of JAX and TensorFlow",
    ),
]


def _keras_tests() -> pathlib.Path:
    """The folder of the installed version's tests: in the package, else in its source archive."""
    installed = pathlib.Path(keras.src.optimizers.__path__[0])
    if (installed / "adam_test.py").exists():
        return installed
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir())) / "keras-h0h1"
    archive = cache / f"keras-{keras.__version__}.tar.gz"
    if not archive.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", "keras"]
        command += ["--no-deps", f"keras=={keras.__version__}", "-d", str(cache)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not archive.exists():
            pytest.skip(f"Keras' source archive cannot be had: {done.stderr[-300:]}")
    folder = cache / archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(cache, filter="data")
    return folder / "keras" / "src" / "optimizers"


def test_keras_own_tests_on_wrapped_optimizers(tmp_path):
    for path in _keras_tests().glob("*_test.py"):
        shutil.copy(path, tmp_path)
    root = pathlib.Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.upstream.wrap_every_optimizer"]
    command += ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-W", "ignore"]
    done = subprocess.run(
        [*command, "--junitxml", "results.xml", "."],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert (tmp_path / "results.xml").exists(), done.stdout[-2000:] + done.stderr[-2000:]
    failed, passed = set(), 0
    for case in ElementTree.parse(tmp_path / "results.xml").iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed.add(f"{case.get('classname').split('.')[-1]}.{case.get('name')}")
        elif "skipped" not in kinds:
            passed += 1
    print(f"{passed} of {passed + len(failed)} passed; failed: {sorted(failed)}")
    assert failed <= set(EXPECTED), f"not expected: {sorted(failed - set(EXPECTED))}"
    assert passed >= 180
