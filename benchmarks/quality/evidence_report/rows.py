"""The methods of the study `evidence` as its tables and figures name them."""

from benchmarks.quality import evidence
from benchmarks.quality.measures import Group
from benchmarks.quality.methods import (
    ADAPTIVE_GD,
    LINEAR,
    MOMO_ADAM,
    NGN_MD,
    NONE,
    NORM_CONSTRAINED,
    PAPER,
    RADAM,
    SCHEDULE_FREE,
    UNTUNED,
)

SELF_TUNED: Group = (evidence.SELF_TUNED,)

TUNED: dict[str, Group] = {
    "linear, best length": LINEAR,
    "the paper's rule, best C": PAPER,
    "norm-constrained, best gap": NORM_CONSTRAINED,
}
UNTUNED_ROWS: dict[str, Group] = {
    "none": (NONE,),
    "linear 10%": (LINEAR[1],),
    "untuned linear": (UNTUNED,),
    "RAdam's factor": (RADAM,),
    "self-tuned rule": SELF_TUNED,
    "with a retreat": (evidence.RETREATING,),
    "Schedule-Free": (SCHEDULE_FREE,),
    "MoMo-Adam": (MOMO_ADAM,),
    "NGN-MD": (NGN_MD,),
    "AdaptiveGD": (ADAPTIVE_GD,),
}
ROWS = TUNED | UNTUNED_ROWS

PLACES = (1, 2)
"""Of the grid: peak rates that are about 3 and 10 times too high."""
