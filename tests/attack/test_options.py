"""Every option of every program, with values that no one should give."""

import contextlib
import dataclasses
import math
import typing

import pytest

from benchmarks.overhead import Overhead
from benchmarks.paper_sizes import PaperSizes
from benchmarks.probe_overhead import ProbeOverhead
from benchmarks.tokenizing import Tokenizing
from recipes.common.command_line.options import build, check_options, flag, option, parse
from recipes.compare import Comparison
from recipes.gpt.config import GPTConfig
from recipes.report.__main__ import Report
from recipes.smoothness.config import Smoothness
from recipes.theory.recipe import Theory
from recipes.tokenize.recipe import Tokenize
from recipes.vision.config import VisionConfig
from tests.attack.values import means
from tests.backends import only_on

pytestmark = only_on("jax", reason="options do not depend on the backend")

PROGRAMS = (
    GPTConfig, VisionConfig, Comparison, Tokenize, Smoothness, Theory, Report,
    Overhead, ProbeOverhead, Tokenizing, PaperSizes,
)  # fmt: skip
OPTIONS = [(cls, field.name) for cls in PROGRAMS for field in dataclasses.fields(cls)]

ABSURD = [
    "", " ", ",", "-1", "0", "-0.0", "1.5", "True", "nan", "-inf", "inf", "1e308", "-1e308",
    "1e999", "1e-320", "1e-400", "1e30", "0.99999999999", "9" * 19, "9" * 30, "-" + "9" * 5000,
    "9" * 5000, "x" * 5000, "x" * 300, "a\0b", "a\nb", "..", "../..", "a/b", "\udcff", "\u0663",
    "\u00b2", "1_000", " 1", "0x10", "1,1", "1,,2", "none,none", "\u202e", "--", "/dev/null/x",
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name"), OPTIONS, ids=lambda x: getattr(x, "__name__", x))
def test_an_absurd_value_is_refused_in_one_line_or_taken_as_it_is(cls, name, capsys, tmp_path):
    a_file = tmp_path / "file"
    a_file.write_text("text")
    for text in [*ABSURD, str(a_file), str(a_file / "below")]:
        needed = {"price": ["--dry-run", "--hardware=h100"]}.get(name, ["--dry-run"])
        extra = needed if name in ("price", "hardware", "utilisation") else []
        try:
            given = parse([cls], [f"{flag(name)}={text}", *extra])
        except SystemExit as stopped:
            message = capsys.readouterr().err
            assert stopped.code == 2, (text, message)
            assert message.count("\n") == 1 and len(message) < 1000, (text, message)
            assert flag(name) in message or "one argument" in message, (text, message)
            continue
        with contextlib.suppress(ValueError):
            # A combination may be refused where the value itself is allowed.
            config = build(cls, given)
            assert getattr(config, name) == given[name]
        assert means(given[name], text), (text, given[name])


@pytest.mark.parametrize(("cls", "name"), OPTIONS, ids=lambda x: getattr(x, "__name__", x))
def test_a_caller_and_a_file_meet_the_same_bounds_as_the_command_line(cls, name):
    several = typing.get_origin(typing.get_type_hints(cls)[name]) is tuple
    for value in (math.nan, math.inf, 10**400, -(2**63) - 1, "", "a\0", b"x", {}, 1e308, 1e-320):
        with pytest.raises(ValueError, match="Received: ") as refused:
            build(cls, {name: [value] if several else value})
        assert "\n" not in str(refused.value) and f"`{name}`" in str(refused.value)


# (declaration, allowed, refused): both sides of each bound.
@pytest.mark.parametrize(
    ("bounds", "kind", "allowed", "refused"),
    [
        ({"low": 1, "high": 9}, int, (1, 9), (0, 10, True, 1.0, "1", None)),
        ({"above": 0, "below": 1}, float, (1e-30, 0.5, 0.999), (0, 1, 0.99999999999, True, None)),
        ({"low": 0, "high": 1}, float, (0, 1, 0.5), (-1e-30, 1.0001, 1e-40)),
        ({}, int, (2**63 - 1, -(2**63) + 1), (2**63, -(2**64))),
        ({}, float, (3e38, -3e38, 1.2e-38, 0), (3.5e38, math.nan, -math.inf, 1e-39)),
        ({"kind": "name"}, str, ("x" * 200, "ü"), ("x" * 201, "a/b", "a\\b", ".", "..", "ü" * 101)),
        ({"kind": "path"}, str, ("a/" * 2000 + "x", "x" * 255, "..", "~"), ("x" * 256, "a\0b")),
        ({"kind": "path"}, str, (), ("/".join(["x" * 200] * 21), "a\nb", "\udcff", "", " ")),
    ],
)
def test_bounds_are_where_the_declaration_has_them(bounds, kind, allowed, refused):
    cls = dataclasses.make_dataclass(
        "Config", [("value", kind, option(None, "", **bounds))],
        namespace={"__post_init__": lambda self: check_options(self)},
    )  # fmt: skip
    for value in allowed:
        assert cls(value).value == value
    for value in refused:
        with pytest.raises(ValueError, match="Received: value="):
            cls(value)
