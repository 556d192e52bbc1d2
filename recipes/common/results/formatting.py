"""How a number reads: on the screen, in Markdown and on the page of the report."""

import math
from collections.abc import Sequence
from typing import Any


def text(value: Any, largest: float = 0.0, missing: str = "-") -> str:
    """A cell of a table: four digits after the point for losses, thousands separators.

    Args:
        value: Anything.
        largest: Largest size in its column, so that all numbers of a column have as many digits.
        missing: What stands for `None` and NaN.

    Example:

    >>> [text(v) for v in (5.28931, 198.206, 0.001, 614400, None, True, 0.0)]
    ['5.2893', '198.2', '0.001', '614,400', '-', 'yes', '0']
    >>> text(0.002, largest=0.2)
    '0.0020'
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    small = 1e-4 if largest >= 0.01 else 0.01
    if size and (size < small or size >= 1e7):
        return f"{value:.3g}"
    if max(size, largest) >= 100 and size >= 10:
        return f"{value:,.1f}" if size < 1e4 else f"{value:,.0f}"
    return f"{value:.4f}" if size else "0"


def largest(values: Sequence[Any]) -> float:
    """The size of the largest finite float of a column, for `text`."""
    sizes = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v)]
    return max(sizes, default=0.0)


def setting(value: Any, missing: str = "-") -> str:
    """An option's value as it would be typed: no separators, as many digits as it needs.

    Example:

    >>> [setting(v) for v in (0.001, 614400, True, None, [0, 1])]
    ['0.001', '614400', 'yes', '-', '0, 1']
    """
    if value is None or value in ([], ""):
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def loss(value: float) -> str:
    """A loss with as many digits as matter: four after the point below 10, two above.

    Example:

    >>> loss(2.31234), loss(104.5678)
    ('2.3123', '104.57')
    """
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
