"""Absurd values for options, and whether a run took one for what it is."""

import json
import math
import random
import struct
import types
import typing
from pathlib import Path
from typing import Any, Literal

NUMBERS = [
    "", " ", "nan", "-inf", "inf", "1e308", "-1e308", "1e999", "1e-320", "1e-400", "-1", "0",
    "-0.0", "1.5", "1", "1e30", "0.99999999999", "9" * 19, "9" * 30, "9" * 5000, "True", "0x10",
    "1_000", " 1", "\u0663", "\u00b2", "1,1", "1,,2", "--",
]  # fmt: skip
TEXTS = [
    "", " ", ",", "-1", "0", "nan", "x" * 300, "x" * 5000, "a\0b", "a\nb", "..", "../..", "a/b",
    "\udcff", "\u202e", "--", "/dev/null", "/dev/null/x", "/proc/nowhere/x", "none,none", "~nobody",
    "a" * 199, "'; rm -rf x", "[bold]x[/bold]", "[/]",
]  # fmt: skip
SWITCHES = [
    "", " ", "-1", "0", "1", "2", "nan", "maybe", "TRUE", "None", "on", " true", "true,false", "--",
    "x" * 5000,
]  # fmt: skip


def absurd(hint, allowed, inputs: Path, generator: random.Random, count: int) -> list[str]:
    """`count` values for an option of this type, the bounds of its declaration among them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        hint = next(a for a in arguments if a is not type(None))
        return absurd(hint, allowed, inputs, generator, count)
    if origin is tuple:
        return absurd(arguments[0], allowed, inputs, generator, count)
    if hint in (int, float):
        bounds = [allowed.low, allowed.high, allowed.above, allowed.below]
        chosen = [
            f"{bound:{'g' if hint is float else 'd'}}" for bound in bounds if bound is not None
        ]
        pool = NUMBERS
    elif hint is bool:
        chosen, pool = [], SWITCHES
    elif origin is Literal:
        chosen, pool = [arguments[-1], arguments[0].upper() + " "], TEXTS
    else:
        chosen, pool = [str(inputs / "file"), str(inputs / "file" / "below")], TEXTS
    chosen = chosen[:count]
    rest = [text for text in pool if text not in chosen]
    return chosen + generator.sample(rest, min(len(rest), count - len(chosen)))


def means(value: Any, text: str) -> bool:
    """Whether the value is what a person would read in the text."""
    if isinstance(value, tuple):
        return len(value) == text.count(",") + 1 and all(map(means, value, text.split(",")))
    if isinstance(value, bool):
        return text.lower() in (
            ("true", "on", "yes", "1") if value else ("false", "off", "no", "0")
        )
    if isinstance(value, int):
        return str(value) == text and abs(value) < 2**63
    if isinstance(value, float):
        single = struct.unpack("f", struct.pack("f", value))[0]
        # Neither infinite nor zero by rounding.
        return value == float(text) and math.isfinite(single) and (not single) == (not value)
    return value == text and text.strip() != "" and text.isprintable() and len(text) <= 4095


def meaning(program, name: str, text: str, given: Any, found: dict, folder: Path) -> str | None:
    """Why a run did not mean what was asked; `None` if it did."""
    if not means(given, text):
        return f"{text!r} was read as {given!r}"
    if name not in found:
        return "the value is nowhere"
    wanted, value = json.loads(json.dumps(given)), json.loads(json.dumps(found[name]))
    if name == "epochs":
        # Of whole updates.
        near = (
            abs(value - given) <= 0.5 * found["batch_size"] * found["gradient_accumulation_steps"]
        )
        return None if near else f"{given} epochs became {value}"
    if name == "data" and "size" in found:
        wanted = [str((folder / path).resolve()) for path in given]
    if name in ("runs", "name") and program.name.startswith("compare"):
        # The comparison makes a folder of its own there.
        return None if (folder / text).exists() else "nothing was written there"
    return None if value == wanted else f"asked for {wanted!r}, recorded {value!r}"
