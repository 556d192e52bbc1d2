"""XLA's optimised program as text, read into instructions: what `compiled.as_text()` gives."""

import dataclasses
import functools
import math
import re

_BYTES = {
    "pred": 1, "bf16": 2, "c64": 8, "c128": 16, "token": 0, "opaque": 0, "s4": 0.5, "u4": 0.5
}  # fmt: skip
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([0-9,<= ]*)\](\{[^}]*\})?")
_NAME = re.compile(r"%?([A-Za-z_][\w.$-]*)\s*$")
_LINE = re.compile(r"^\s*(ROOT )?%?([\w.$-]+) = ")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.$-]+)\s.*(?:\{)\s*$")
_END = re.compile(r"^\}\s*(,\s*execution_thread=.*)?$")


@dataclasses.dataclass(frozen=True)
class Array:
    """A shape in a program.

    Args:
        dtype: XLA's name of it.
        dims: Its sizes.
        main_memory: Whether it is in the device's main memory, rather than on the chip.
    """

    dtype: str
    dims: tuple[int, ...]
    main_memory: bool = True

    @property
    def size(self) -> int:
        """Bytes, without padding."""
        digits = re.search(r"\d+", self.dtype)
        width = _BYTES.get(self.dtype)
        if width is None:
            width = int(digits[0]) / 8 if digits else 4
        return int(width * math.prod(self.dims))


def arrays(text: str) -> list[Array]:
    """The arrays of a type, which may be a tuple.

    Example: on a TPU `S(1)` is the chip's own memory.

    >>> arrays("(f32[2,3]{1,0:T(8,128)S(1)}, bf16[])")
    [Array(dtype='f32', dims=(2, 3), main_memory=False), Array(dtype='bf16', dims=(), main_memory=True)]
    """  # noqa: E501
    return [
        Array(
            dtype,
            tuple(int(re.sub(r"\D", "", n)) for n in dims.split(",") if n.strip()),
            "S(1)" not in (layout or ""),
        )
        for dtype, dims, layout in _ARRAY.findall(text)
    ]


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Args:
        name: Its own.
        type: Of the result, as text.
        opcode: What it does.
        operands: Names.
        attributes: The rest of the line.
        root: Whether it is the computation's result.
        inner: The text between the brackets: of a parameter its number, of a constant its value.
    """

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    root: bool = False
    inner: str = ""

    @functools.cached_property
    def results(self) -> list[Array]:
        """What it makes."""
        return arrays(self.type)

    def attribute(self, name: str) -> str | None:
        """The text after `name=`, braces kept."""
        matched = re.search(rf"\b{name}=(\{{[^}}]*\}}|[^,\s]+)", self.attributes)
        return matched and matched[1]

    def numbers(self, name: str) -> tuple[int, ...]:
        """The integers of an attribute; none if it is missing."""
        return tuple(map(int, re.findall(r"-?\d+", self.attribute(name) or "")))

    @property
    def called(self) -> list[str]:
        """Computations that run as part of it; not those of a reduction, which are scalar."""
        if self.opcode == "conditional":
            found = self.attribute("branch_computations")
            if found:
                return re.findall(r"%?([\w.$-]+)", found.strip("{}"))
            named = (self.attribute(f"{which}_computation") for which in ("true", "false"))
            return [name.lstrip("%") for name in named if name]
        key = {"while": "body", "call": "to_apply"}.get(self.opcode, "calls")
        found = self.attribute(key)
        return [found.strip("{}").lstrip("%")] if found else []


@dataclasses.dataclass(frozen=True)
class Program:
    """All computations by name, each its instructions by name, and which one is the entry."""

    computations: dict[str, dict[str, Instruction]]
    entry: str


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` is closed."""
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "(":
            depth += 1
        elif text[index] == ")":
            depth -= 1
            if not depth:
                return index
    raise ValueError(f"A bracket stays open. Received: {text[start : start + 80]!r}")


def _instruction(line: str) -> Instruction | None:
    matched = _LINE.match(line)
    if not matched:
        return None
    rest = re.sub(r"/\*.*?\*/", "", line[matched.end() :])
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    opened = rest.find("(")
    if opened < 0:
        return None
    opcode, closed = rest[:opened], _closing(rest, opened)
    # Names without `%` follow their types in some versions.
    parts = re.split(r",(?![^{\[]*[}\]])", rest[opened + 1 : closed])
    operands = tuple(m[1] for m in map(_NAME.search, parts) if m)
    return Instruction(
        matched[2],
        kind,
        opcode,
        operands,
        rest[closed + 1 :],
        bool(matched[1]),
        rest[opened + 1 : closed],
    )


def _whole_lines(text: str) -> list[str]:
    """Lines of a module; what Pallas writes into an instruction's attributes has line breaks."""
    lines = []
    for line in text.splitlines():
        begins = not line.strip() or any(p.match(line) for p in (_LINE, _HEAD, _END))
        if begins or not lines or not _LINE.match(lines[-1]):
            lines.append(line)
        else:
            lines[-1] += line
    return lines


def parse(text: str) -> Program:
    """Reads a module.

    Example:

    >>> program = parse('''HloModule m
    ... ENTRY main (x: f32[2,4]) -> f32[2,4] {
    ...   x = f32[2,4]{1,0} parameter(0)
    ...   ROOT y = f32[2,4]{1,0} add(x, x)
    ... }''')
    >>> program.computations["main"]["y"].operands
    ('x', 'x')
    """
    computations, entry, inside = {}, "", None
    for line in _whole_lines(text):
        if inside is None:
            matched = _HEAD.match(line)
            if matched and not line.startswith("HloModule"):
                inside = computations[matched[2]] = {}
                entry = matched[2] if matched[1] else entry
        elif _END.match(line):
            inside = None
        else:
            found = _instruction(line)
            if found:
                inside[found.name] = found
    if not entry:
        raise ValueError(f"This is no HLO module. Received: {text[:80]!r}")
    return Program(computations, entry)
