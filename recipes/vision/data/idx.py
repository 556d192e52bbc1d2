"""The idx files of the MNIST family: a magic number, the sizes, then bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in `.gz`.

    Raises:
        ValueError: If the file is cut off or damaged.
    """
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: it cannot be unpacked ({error}).") from error


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in an idx file.

    The first four bytes are 0, 0, 8 (unsigned bytes) and the number of dimensions; their sizes
    follow as big-endian 32-bit integers, then the values.

    Args:
        path: A plain or gzip-packed file.
        dimensions: 1 for labels, 3 for images.

    Raises:
        ValueError: If the file is not such a file, or is cut off; its name is in the message.
    """
    content = read_bytes(path)
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if len(content) < header or content[:4] != magic:
        raise ValueError(
            f"{path} is not an idx file of bytes with {dimensions} dimensions: it should begin "
            f"with {magic.hex(' ')}. Received: {content[:4].hex(' ') or 'an empty file'}"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = math.prod(shape)
    if len(content) - header != expected:
        raise ValueError(
            f"{path} is damaged: its header promises {' x '.join(map(str, shape))} = "
            f"{expected:,} bytes. Received: {len(content) - header:,} bytes"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
