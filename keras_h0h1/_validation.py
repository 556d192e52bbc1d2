"""Argument checks shared by every public constructor; each error ends in `Received: ...`."""

import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np


def check_number(
    name: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    strict: bool = False,
) -> float:
    """Returns `value` as a finite Python float inside the stated range.

    Args:
        name: The argument's name, for the message.
        value: What the caller passed.
        low: Smallest allowed value, or `None`.
        high: Largest allowed value, or `None`.
        strict: Whether `low` itself is excluded.

    Raises:
        TypeError: If `value` is not a real number (booleans and strings are not).
        ValueError: If it is NaN, infinite or outside the range.
    """
    # NumPy scalars are numbers.Real; zero-dimensional arrays are not, but carry `item`.
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{name}` must be a real number. Received: {name}={value!r}")
    number = float(value)
    bounds = []
    if low is not None:
        bounds.append(f"{'>' if strict else '>='} {low:g}")
    if high is not None:
        bounds.append(f"<= {high:g}")
    inside = (
        math.isfinite(number)
        and (low is None or (number > low if strict else number >= low))
        and (high is None or number <= high)
    )
    if not inside:
        wanted = "finite" + (" and " + " and ".join(bounds) if bounds else "")
        raise ValueError(f"`{name}` must be {wanted}. Received: {name}={value!r}")
    return number


def check_integer(name: str, value: Any, *, low: int | None = None) -> int:
    """Returns `value` as an int, at least `low`; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"`{name}` must be an integer. Received: {name}={value!r}")
    if low is not None and value < low:
        raise ValueError(f"`{name}` must be >= {low}. Received: {name}={value!r}")
    return int(value)


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> str:
    """Returns `value` if it is one of `choices`; ValueError otherwise."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}. Received: {name}={value!r}")
    return value


def largest_rate(dtype: str) -> float:
    """The largest learning rate that counts as usable: its square is finite in `dtype`.

    Optimizers square the rate or multiply it by numbers of any size; 1.8e19 in float32.
    """
    return float(np.sqrt(np.finfo(dtype).max))


def check_representable(name: str, value: float, dtype: str, *, high: float | None = None) -> float:
    """Returns `value` if `dtype` holds it as a normal number or 0, at most `high` in magnitude.

    Subnormal numbers do not count: compilers flush them to 0.

    Raises:
        ValueError: If it is not.
    """
    limits = np.finfo(dtype)
    low, high = float(limits.tiny), float(limits.max) if high is None else high
    if value != 0.0 and not low <= abs(value) <= high:
        raise ValueError(
            f"`{name}` must be 0 or between {low:g} and {high:g} in magnitude, to be usable in "
            f"{dtype}, the dtype of the learning rate. Received: {name}={value!r}"
        )
    return value


def check_rate(name: str, value: Any, dtype: str) -> float:
    """Returns `value` as a float that is a usable learning rate in `dtype`."""
    number = check_number(name, value, low=0.0)
    return check_representable(name, number, dtype, high=largest_rate(dtype))
