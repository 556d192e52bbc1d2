"""The work of one step of a compiled program, as numbers."""

import collections
import dataclasses


@dataclasses.dataclass(frozen=True)
class Collective:
    """Messages of one kind between devices, in one step.

    Args:
        kind: XLA's opcode.
        axis: Of the mesh, over which they go; several joined by `+`.
        count: How many.
        payload: Bytes of what is summed or gathered, on one device.
        sent: Bytes that a device sends at least.
    """

    kind: str
    axis: str
    count: float
    payload: float
    sent: float


@dataclasses.dataclass
class Account:
    """Of one device and one step; a mean where a step's work depends on its number.

    Args:
        flops: Of matrix products and convolutions, each multiply-add as two.
        bytes: Read from and written to main memory by what XLA does not fuse.
        cycles: The compiler's estimate, where it gives one.
        collectives: By kind and axis: count, payload, sent.
        copies: Copies and conversions of more than 1 MB: their number and the bytes they move.
        kernels: Hand-written kernels, by name.
        fusions: How many.
    """

    flops: float = 0.0
    bytes: float = 0.0
    cycles: float = 0.0
    copies: float = 0.0
    copied: float = 0.0
    fusions: float = 0.0
    collectives: dict[tuple[str, str], tuple[float, float, float]] = dataclasses.field(
        default_factory=dict
    )
    kernels: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def add(self, other: "Account", times: float = 1.0) -> None:
        """Adds another one, so many times."""
        for name in ("flops", "bytes", "cycles", "copies", "copied", "fusions"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for key, values in other.collectives.items():
            old = self.collectives.get(key, (0.0, 0.0, 0.0))
            self.collectives[key] = tuple(a + times * b for a, b in zip(old, values, strict=True))
        for name, count in other.kernels.items():
            self.kernels[name] += times * count

    @property
    def messages(self) -> list[Collective]:
        """The collectives, those that send most first."""
        found = [Collective(*key, *values) for key, values in self.collectives.items()]
        return sorted(found, key=lambda c: -c.sent)

    @property
    def sent(self) -> float:
        """Bytes that a device sends."""
        return sum(c.sent for c in self.messages)
