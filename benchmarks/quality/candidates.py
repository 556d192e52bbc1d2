"""The rules that the study `develop` chooses from, round by round, and the chosen one."""

from benchmarks.quality.methods import Method

ROUND_1: tuple[Method, ...] = tuple(
    Method("auto", {"fraction": fraction, "rho": rho})
    for rho in (1.0, 2.0, 3.0)
    for fraction in (0.4, 0.5, 0.6)
)
"""Fraction and exponent, with no end of warm-up but that of the loss."""

ROUND_2: tuple[Method, ...] = ()
"""An end of warm-up and smoothing, for the best two of round 1."""

ROUND_3: tuple[Method, ...] = ()
"""The best three of round 2, with more seeds."""

SELF_TUNED: Method | None = None
"""The rule of the study `test`; set after the choice, before the study is run."""
