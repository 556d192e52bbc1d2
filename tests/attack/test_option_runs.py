"""A seeded part of `python -m tests.attack.options`: whole runs with absurd values."""

import os
import re
import subprocess
import sys

from tests.attack.programs import programs
from tests.backends import only_on

pytestmark = only_on("tensorflow", reason="options do not depend on the backend")


def test_runs_are_refused_in_one_line_or_mean_what_was_asked(tmp_path):
    # A process of its own: it forks, and TensorFlow's threads in a worker that has run other tests
    # do not survive that.
    attack = ["-m", "tests.attack.options", "--short", "--count=3", "--every=10"]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", *attack],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    counts = dict(re.findall(r"^([a-z. _]+): (\d+) runs", run.stdout, flags=re.MULTILINE))
    assert set(counts) == {"all", *(program.name for program in programs(tmp_path))}
    assert int(counts["all"]) > 60
    refused, ran = re.search(
        r"^all: .*?(\d+) refused.*?(\d+) ran", run.stdout, flags=re.MULTILINE
    ).groups()
    assert int(refused) > 20 and int(ran) > 10
