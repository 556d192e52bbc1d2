"""What one step of a compiled program does: operations, bytes, messages, copies, kernels."""

import itertools
import math
import re

import numpy as np

from recipes.compilers.hlo import Instruction, Program
from recipes.compilers.work import Account

_COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
    "ragged-all-to-all", "collective-broadcast",
)  # fmt: skip
# What only names memory, or waits for what was begun before.
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id",
    "replica-id", "while", "conditional", "call", "optimization-barrier",
}  # fmt: skip
_LARGE = 10**6


def account(program: Program, mesh: dict[str, int], accumulate: int = 1) -> Account:
    """Adds a program up.

    A loop's body counts as often as it runs. Of a conditional's branches the costliest runs in one
    step out of `accumulate`, as the optimizer's update does when gradients are accumulated.

    Args:
        program: From `hlo.parse`.
        mesh: Sizes of the mesh's axes by name, in the order of the devices.
        accumulate: Micro-batches for an update.
    """
    return _Reader(program, mesh, accumulate).of(program.entry, fused=False)


class _Reader:
    def __init__(self, program, mesh, accumulate):
        self.program, self.mesh, self.accumulate = program, mesh, accumulate
        self.known: dict[tuple[str, bool], Account] = {}

    def of(self, name: str, fused: bool) -> Account:
        key = name, fused
        if key not in self.known:
            total = Account()
            for instruction in self.program.computations.get(name, {}).values():
                self._add(total, instruction, self.program.computations[name], fused)
            self.known[key] = total
        return self.known[key]

    def _add(self, total, instruction, computation, fused):
        opcode = instruction.opcode
        called = [name for name in instruction.called if name in self.program.computations]
        if opcode == "while":
            total.add(self.of(called[0], fused), self._trips(instruction))
        elif opcode == "conditional":
            branches = sorted((self.of(name, fused) for name in called), key=lambda a: a.bytes)
            rare = 1 / self.accumulate
            total.add(branches[-1], rare)
            for branch in branches[:-1]:
                total.add(branch, (1 - rare) / (len(branches) - 1))
        else:
            inner = fused or opcode == "fusion"
            for name in called:
                total.add(self.of(name, inner))
        total.fusions += opcode == "fusion" and not fused
        total.flops += flops(instruction, computation)
        matched = re.search(r'"estimated_cycles":"?(\d+)', instruction.attributes)
        total.cycles += int(matched[1]) if matched else 0
        target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
        if target:
            total.kernels[_kernel(target[1], instruction.attributes)] += 1
        self._add_messages(total, instruction, computation)
        if fused or opcode in _FREE or opcode.endswith("-done"):
            return
        moved = self._moved(instruction, computation)
        total.bytes += moved
        root = self._root(called[0]) if opcode == "fusion" else instruction
        if root.opcode in ("copy", "convert", "copy-start", "transpose") and moved > _LARGE:
            total.copies += 1
            total.copied += moved

    def _root(self, name):
        return next(i for i in self.program.computations[name].values() if i.root)

    def _trips(self, instruction) -> int:
        matched = re.search(r'"known_trip_count":\{"n":"?(\d+)', instruction.attributes)
        if matched:
            return int(matched[1])
        condition = (instruction.attribute("condition") or "").lstrip("%")
        constants = [
            int(i.inner)
            for i in self.program.computations.get(condition, {}).values()
            if i.opcode == "constant" and i.inner.isdigit()
        ]
        return max(constants, default=1)

    def _moved(self, instruction, computation) -> float:
        """Bytes of main memory that an instruction reads and writes."""
        written = sum(a.size for a in instruction.results if a.main_memory)
        if instruction.opcode in ("copy-start", "slice-start", "async-start"):
            # Its result names source and destination.
            sizes = [a.size for a in instruction.results if a.main_memory]
            return sum(sizes[:2])
        if instruction.opcode == "dynamic-update-slice":
            update = computation.get(instruction.operands[1])
            return 2.0 * sum(a.size for a in update.results) if update else written
        read = 0.0
        inside = self.program.computations.get((instruction.called or [""])[0], {})
        parameters = {int(i.inner): i for i in inside.values() if i.opcode == "parameter"}
        for position, name in enumerate(instruction.operands):
            operand = computation.get(name)
            if operand is None:
                continue
            size = sum(a.size for a in operand.results if a.main_memory)
            if size and instruction.opcode in ("dynamic-slice", "gather", "slice"):
                size = min(size, written)
            elif size and instruction.opcode == "fusion" and position in parameters:
                size = self._read_inside(parameters[position].name, inside, size)
            read += size
        if instruction.opcode == "fusion":
            root = self._root(instruction.called[0])
            if root.opcode == "dynamic-update-slice":
                update = inside.get(root.operands[1])
                if update:
                    written = min(written, sum(a.size for a in update.results))
        return read + written

    @staticmethod
    def _read_inside(name, inside, size) -> float:
        """Of a fusion's operand: the slices of it that are used, if nothing else is."""
        users = [i for i in inside.values() if name in i.operands]
        slices = 0.0
        for user in users:
            if user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == name:
                slices += sum(a.size for a in user.results)
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                continue  # Written in place.
            else:
                return size
        return min(size, slices) if users else 0.0

    def _add_messages(self, total, instruction, computation):
        kind = instruction.opcode.removesuffix("-start")
        if kind not in _COLLECTIVES or instruction.opcode.endswith("-done"):
            return
        groups = device_groups(instruction)
        size = len(groups[0]) if groups else math.prod(self.mesh.values())
        operands = [computation[name] for name in instruction.operands if name in computation]
        payload = float(sum(a.size for operand in operands for a in operand.results))
        share = (size - 1) / size
        sent = {
            "all-reduce": 2 * share * payload,
            "all-gather": (size - 1) * payload,
            "reduce-scatter": share * payload,
            "all-to-all": share * payload,
        }.get(kind, payload)
        key = kind, axis_of(groups, self.mesh)
        old = total.collectives.get(key, (0.0, 0.0, 0.0))
        total.collectives[key] = (old[0] + 1, old[1] + payload, old[2] + sent)


def _kernel(target: str, attributes: str) -> str:
    """A hand-written kernel's name; Pallas' are all called alike, and told by their operation."""
    if target == "tpu_custom_call":
        matched = re.search(r'op_name="([^"]*)"', attributes)
        if matched and "splash" in matched[1]:
            return "splash attention"
    return target


def device_groups(instruction: Instruction) -> list[tuple[int, ...]]:
    """Which devices a collective joins, in each of XLA's notations.

    Example:

    >>> def groups(text):
    ...     return device_groups(Instruction("", "", "all-reduce", (), f", replica_groups={text}"))
    >>> groups("{{0,1},{2,3}}"), groups("[2,2]<=[2,2]T(1,0)"), groups("mesh['a'=2,'b'=2] {'a'}")
    ([(0, 1), (2, 3)], [(0, 2), (1, 3)], [(0, 2), (1, 3)])
    """
    text = instruction.attributes
    pairs = re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)+)\}", text)
    if pairs:
        return [tuple(map(int, p)) for p in re.findall(r"\{(\d+),(\d+)\}", pairs[1])]
    listed = re.search(r"replica_groups=\{((?:\{[\d,]+\},?)+)\}", text)
    if listed:
        return [tuple(map(int, g.split(","))) for g in re.findall(r"\{([\d,]+)\}", listed[1])]
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if iota:
        shape, sides = (tuple(map(int, iota[k].split(","))) for k in (1, 2))
        ids = np.arange(math.prod(sides)).reshape(sides)
        if iota[3]:
            ids = ids.transpose(tuple(map(int, iota[3].split(","))))
        return [tuple(map(int, row)) for row in ids.reshape(shape[0], -1)]
    named = re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", text)
    if named:
        axes = [(n, int(k)) for n, k in re.findall(r"'([^']+)'=(\d+)", named[1])]
        chosen = re.findall(r"'([^']+)'", named[2])
        names, sides = [n for n, _ in axes], [k for _, k in axes]
        ids = np.arange(math.prod(sides)).reshape(sides)
        inner = [names.index(n) for n in names if n in chosen]
        outer = [k for k in range(len(names)) if k not in inner]
        rows = ids.transpose(outer + inner).reshape(-1, math.prod(sides[k] for k in inner))
        return [tuple(map(int, row)) for row in rows]
    return []


def axis_of(groups: list[tuple[int, ...]], mesh: dict[str, int]) -> str:
    """The axes of a mesh along which groups of devices differ.

    Example:

    >>> axis_of([(0, 1), (2, 3)], {"batch": 2, "model": 2})
    'model'
    """
    if not groups:
        return "+".join(mesh) or "all"
    sides = tuple(mesh.values())
    if max(itertools.chain(*groups)) >= math.prod(sides):
        return "all"
    places = np.array(np.unravel_index(np.array(groups[0]), sides))
    differing = [name for name, row in zip(mesh, places, strict=True) if len(set(row)) > 1]
    return "+".join(differing) or "none"


def flops(instruction: Instruction, computation: dict[str, Instruction]) -> float:
    """Of a matrix product, a convolution or fused attention; 0 of everything else."""

    def dims(position):
        operand = computation.get(instruction.operands[position])
        return operand.results[0].dims if operand and operand.results else ()

    if instruction.opcode == "dot":
        contracted = instruction.numbers("lhs_contracting_dims")
        return (
            2.0 * math.prod(instruction.results[0].dims) * math.prod(dims(0)[k] for k in contracted)
        )
    if instruction.opcode == "convolution":
        return _convolution(instruction, dims(0), dims(1))
    if instruction.opcode != "custom-call":
        return 0.0
    target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
    name = target[1] if target else ""
    if name.startswith("__cublas"):
        found = re.search(r'"lhs_contracting_dimensions":\["?(\d+)', instruction.attributes)
        if found:
            inner = dims(0)[int(found[1])]
            return 2.0 * math.prod(instruction.results[0].dims) * inner
    if name.startswith("__cudnn$conv"):
        return _cudnn_convolution(name, instruction, dims(0), dims(1))
    if name.startswith("__cudnn$fmha"):
        # Query and key, (batch, time, heads, head_dim): two products forward, five backward, of
        # the whole square.
        query, key = dims(0), dims(1)
        products = 5 if "Backward" in name else 2
        return 2.0 * products * math.prod(query) * key[1]
    if _kernel(name, instruction.attributes) == "splash attention":
        return _splash(instruction, computation)
    return 0.0


def _splash(instruction, computation) -> float:
    """Of the whole square: two products forward, three for queries, four for keys and values."""
    products = {"fwd": 2, "dq": 3, "dkv": 4}
    found = re.search(r"splash_\w+?_(fwd|dq|dkv)_", f"{instruction.name}_")
    operands = (computation.get(name) for name in instruction.operands)
    shapes = (operand.results[0] for operand in operands if operand)
    # Before the query, (..., heads, time, head_dim), stand the mask's integers.
    query = next((shape.dims for shape in shapes if "f" in shape.dtype), None)
    if not found or not query:
        return 0.0
    return 2.0 * products[found[1]] * math.prod(query) * query[-2]


def _labels(instruction):
    return re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes).groups()


def _convolution(instruction, left, right) -> float:
    """2 x valid positions x batch x features, as XLA's cost analysis counts them."""
    of_input, of_kernel, of_output = _labels(instruction)
    output = instruction.results[0].dims
    window = re.search(r"window=\{([^}]*)\}", instruction.attributes)
    fields = dict(part.split("=") for part in window[1].split()) if window else {}

    def per_axis(name, default):
        return fields[name].split("x") if name in fields else default

    sizes = per_axis("size", [])
    axes = range(len(sizes))
    strides = per_axis("stride", ["1"] * len(sizes))
    pads = per_axis("pad", ["0_0"] * len(sizes))
    spread = per_axis("lhs_dilate", ["1"] * len(sizes))
    apart = per_axis("rhs_dilate", ["1"] * len(sizes))
    valid = 1
    for k in axes:
        length = left[of_input.index(str(k))]
        out = np.arange(output[of_output.index(str(k))])[:, None] * int(strides[k])
        at = out + np.arange(int(sizes[k]))[None] * int(apart[k]) - int(pads[k].split("_")[0])
        step = int(spread[k])
        valid *= int(((at >= 0) & (at % step == 0) & (at // step < length)).sum())
    groups = int(instruction.attribute("batch_group_count") or 1)
    batch = left[of_input.index("b")] // groups
    features = output[of_output.index("f")]
    return 2.0 * valid * batch * features * right[of_kernel.index("i")]


def _cudnn_convolution(name, instruction, left, right) -> float:
    """2 x outputs x weights for each of them, whichever of the three is computed."""
    of_kernel = _labels(instruction)[1]
    result = instruction.results[0].dims
    if "BackwardFilter" in name:
        outputs, kernel = right, result
    elif "BackwardInput" in name:
        outputs, kernel = left, right
    else:
        outputs, kernel = result, right
    each = math.prod(kernel) / kernel[of_kernel.index("o")]
    return 2.0 * math.prod(outputs) * each
