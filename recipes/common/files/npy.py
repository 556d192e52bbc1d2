"""The header of a `.npy` file, looked at before any memory is taken for its values."""

import io
import math
from typing import NamedTuple

import numpy as np

from recipes.common.command_line.errors import InputError, first_line

# Bytes in which the header of an array ends; NumPy's own are 128 long for any plain shape.
NPY_HEADER = 2**12


class NpyHeader(NamedTuple):
    """What precedes the values of an array in a `.npy` file.

    Args:
        shape: Integers >= 0.
        order: `"C"` or `"F"`.
        dtype: Of plain values: no objects, no fields, no arrays inside.
        offset: Bytes before the first value.
    """

    shape: tuple[int, ...]
    order: str
    dtype: np.dtype
    offset: int


def npy_header(start: bytes, size: int, received: str) -> NpyHeader:
    """The header of an array, if its values are as many bytes as follow it.

    It is looked at before any memory is taken for the values.

    Args:
        start: The first `NPY_HEADER` bytes of the file, or all of a shorter one.
        size: Bytes of the whole file.
        received: What the message ends in.

    Raises:
        InputError: If there is no such header, or the sizes differ.
    """
    stream = io.BytesIO(start[:NPY_HEADER])
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream, max_header_size=NPY_HEADER)
    # NumPy's parser raises whatever Python's tokenizer and compiler do.
    except Exception as error:
        raise InputError(
            f"This is no sound .npy header ({first_line(error)}). Received: {received}"
        ) from None
    if dtype.hasobject or dtype.fields or dtype.subdtype or not dtype.itemsize:
        raise InputError(
            "An array of numbers is expected; no other is read, no object is made (allow_pickle is "
            f"off). Received: {received}, dtype={dtype}"
        )
    # Python's integers do not overflow. More dimensions than this NumPy does not have.
    expected = stream.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or len(shape) > 32 or expected != size:
        raise InputError(
            f"An array of shape {shape} and type {dtype} takes {expected:,} bytes with its header; "
            f"it is cut off, too long or damaged. Received: {received}, {size:,} bytes"
        )
    return NpyHeader(shape, "F" if fortran else "C", dtype, stream.tell())
