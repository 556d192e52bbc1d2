"""One recipe with several schedules, side by side: `python -m recipes.compare`."""

from recipes.compare.config import Comparison
from recipes.compare.runs import Run, average
from recipes.compare.table import steps_to, tabulate

__all__ = ["Comparison", "Run", "average", "steps_to", "tabulate"]
