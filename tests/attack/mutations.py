"""Ways to damage a file, chosen by a seeded generator."""

import random

# Numbers at the edges of what headers hold, in both byte orders.
_EDGES = [
    value.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for value in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    for order in ("little", "big")
]
_WORDS = [
    b"NaN", b"Infinity", b"-1", b"1e308", b"1e-320", b"null", b"[]", b"{}", b'""', b"true",
    b"0", b"99999999999999999999", b"1.5", b'"\\ud800"', b"\0", b"\xff\xfe", b"../x", b"\n",
    b"[" * 2000, b'{"a":' * 2000,
]  # fmt: skip


def mutate(content: bytes, generator: random.Random) -> bytes:
    """A damaged copy: one to three of the ways below, one after the other."""
    ways = (_flip, _overwrite, _truncate, _remove, _repeat, _zero, _edge, _word, _digit, _swap)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        content = generator.choice(ways)(content, generator)
    return content


def _place(content: bytes, generator: random.Random) -> int:
    # Half of them near the beginning, where headers are.
    end = len(content) if generator.random() < 0.5 else min(len(content), 256)
    return generator.randrange(end + 1)


def _flip(content, generator):
    if not content:
        return content
    at = min(_place(content, generator), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 1 << generator.randrange(8)]) + content[at + 1 :]


def _overwrite(content, generator):
    at = _place(content, generator)
    noise = generator.randbytes(generator.randrange(1, 17))
    return content[:at] + noise + content[at + len(noise) :]


def _truncate(content, generator):
    return content[: generator.randrange(len(content) + 1)]


def _remove(content, generator):
    at = _place(content, generator)
    return content[:at] + content[at + generator.randrange(1, 65) :]


def _repeat(content, generator):
    at = _place(content, generator)
    piece = content[at : at + generator.randrange(1, 4097)]
    return content[:at] + piece * 2 + content[at + len(piece) :]


def _zero(content, generator):
    at = _place(content, generator)
    size = min(generator.randrange(1, 513), len(content) - at)
    return content[:at] + bytes(size) + content[at + size :]


def _edge(content, generator):
    at = _place(content, generator)
    value = generator.choice(_EDGES)
    return content[:at] + value + content[at + len(value) :]


def _word(content, generator):
    at = _place(content, generator)
    return content[:at] + generator.choice(_WORDS) + content[at + generator.randrange(4) :]


def _digit(content, generator):
    """Another digit in place of one: still well-formed text, with another number."""
    digits = [i for i, byte in enumerate(content[:65536]) if 48 <= byte < 58]
    if not digits:
        return _flip(content, generator)
    at = generator.choice(digits)
    return content[:at] + str(generator.randrange(10)).encode() + content[at + 1 :]


def _swap(content, generator):
    first, second = sorted((_place(content, generator), _place(content, generator)))
    size = min(generator.randrange(1, 257), second - first)
    a, b = content[first : first + size], content[second : second + size]
    return content[:first] + b + content[first + size : second] + a + content[second + size :]
