"""The report of the study `evidence`: `RESULTS.md`, its figures, and what the README says of it."""

from benchmarks.quality.evidence_report.page import write_report
from benchmarks.quality.evidence_report.summary import blocks, replaced, write_summary

__all__ = ["blocks", "replaced", "write_report", "write_summary"]
