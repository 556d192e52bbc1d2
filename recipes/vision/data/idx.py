"""The idx files of the MNIST family: a magic number, the sizes, then bytes."""

import math
import struct
from pathlib import Path

import numpy as np

from recipes.common.command_line.errors import InputError
from recipes.common.files.reading import open_file

# MNIST and Fashion-MNIST have 70,000 images of 28 x 28. The images are decompressed only after the
# header has said how many there are.
ITEMS = 2**17
PIXELS = 2**10
VALUES = ITEMS * PIXELS


def read_idx(path: Path, dimensions: int, items: int = ITEMS) -> np.ndarray:
    """The uint8 array in an idx file.

    The first four bytes are 0, 0, 8 (unsigned bytes) and the number of dimensions; their sizes
    follow as big-endian 32-bit integers, then the values.

    Args:
        path: A plain or gzip-packed file.
        dimensions: 1 for labels, 3 for images.
        items: So many labels or images at most.

    Raises:
        InputError: If the file is not such a file, or is cut off; its name is in the message.
    """
    size = 4 + 4 * dimensions
    with open_file(path, VALUES + size) as file:
        header = file.read(size)
        magic = bytes([0, 0, 8, dimensions])
        if len(header) < size or header[:4] != magic:
            raise InputError(
                f"{path} is not an idx file of bytes with {dimensions} dimensions: it should begin "
                f"with {magic.hex(' ')}. Received: {header[:4].hex(' ') or 'an empty file'}"
            )
        shape = struct.unpack(f">{dimensions}I", header[4:])
        expected = math.prod(shape)
        if shape[0] > items or math.prod(shape[1:]) > PIXELS or expected > VALUES:
            raise InputError(
                f"{path} is damaged: at most {items:,} items of {PIXELS:,} bytes are expected. "
                f"Received: {' x '.join(map(str, shape))}"
            )
        content = file.read(expected)
        more = file.read(1)
    if len(content) != expected or more:
        found = f"more than {expected:,}" if more else f"{len(content):,}"
        raise InputError(
            f"{path} is damaged: its header promises {' x '.join(map(str, shape))} = "
            f"{expected:,} bytes. Received: {found} bytes"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
