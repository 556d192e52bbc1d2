"""Argument checks shared by every public constructor; each error ends in `Received: ...`."""

import math
import numbers


def check_number(
    name: str, value, *, low: float | None = None, high: float | None = None, strict: bool = False
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


def check_integer(name: str, value, *, low: int | None = None) -> int:
    """Returns `value` as an int, at least `low`; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"`{name}` must be an integer. Received: {name}={value!r}")
    if low is not None and value < low:
        raise ValueError(f"`{name}` must be >= {low}. Received: {name}={value!r}")
    return int(value)


def check_choice(name: str, value, choices) -> str:
    """Returns `value` if it is one of `choices`; ValueError otherwise."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}. Received: {name}={value!r}")
    return value
