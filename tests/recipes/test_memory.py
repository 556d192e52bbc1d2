"""The closed forms of memory against what the compilers for TPU and GPU found."""

import json

import pytest

from benchmarks.closed_forms import PATH, closed_form
from tests.backends import only_on

ROWS = json.loads(PATH.read_text("utf-8"))["rows"]
TOLERANCE = 0.15


@only_on("jax", reason="models without values need JAX")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']} {row['target']}")
def test_closed_forms_are_near_the_compilers_peak(row):
    found = closed_form(row)
    assert found / row["peak_memory"] == pytest.approx(1, abs=TOLERANCE)
    # The record is that of the present code: `python -m benchmarks.closed_forms`.
    assert row["closed_form_memory"] == pytest.approx(found, rel=1e-6)
