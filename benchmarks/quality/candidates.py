"""The rules that the study `develop` chooses from, and the chosen one."""

from benchmarks.quality.methods import Method

CANDIDATES: tuple[Method, ...] = tuple(
    Method("paper", {"kappa": kappa, "rho": rho})
    for rho in (1.0, 2.0, 3.0, 4.0)
    for kappa in (0.4, 0.5, 0.6)
)

SELF_TUNED: Method | None = None
"""The rule of the study `test`; set after the choice, before the study is run."""
