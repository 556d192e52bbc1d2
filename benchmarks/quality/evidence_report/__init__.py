"""The report of the study `evidence`: `RESULTS.md`, its figures, and what the README says of it."""

from benchmarks.quality.evidence_report.page import write_report
from benchmarks.quality.evidence_report.summary import pages, write_summary

__all__ = ["pages", "write_report", "write_summary"]
