"""README and the page of evidence say of the study `evidence` what its committed records say."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "jax", reason="the trials of the study run on JAX alone"
)


def test_the_sentence_and_the_table_are_those_of_the_records():
    from benchmarks.quality import evidence, records
    from benchmarks.quality.evidence_report import pages
    from benchmarks.quality.measures import Measures

    measures = Measures(evidence.EVIDENCE, records.RESULTS / "evidence").finished()
    for page, text in pages(measures, ROOT).items():
        assert page.read_text("utf-8") == text
    # It is the first thing that is said.
    assert (
        (ROOT / "README.md")
        .read_text("utf-8")
        .startswith("# keras_h0h1\n\n<!-- evidence: sentence -->\n\nLearning rates that follow")
    )
    assert (ROOT / "docs/figures/evidence.png").exists()
    report = (ROOT / "benchmarks/quality/RESULTS.md").read_text("utf-8")
    missing = [f"`{n}`" for n in evidence.WORKLOADS if n not in measures.workloads]
    assert all(name in report for name in missing)
    assert ("The study goes on" in report) == bool(missing)
