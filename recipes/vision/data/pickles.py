"""Reading published pickles as data only: nothing in them is ever executed.

A pickle is a program that names functions to call. The one here knows a handful of names and has
a harmless stand-in for each: what makes NumPy arrays. Any other name stops the reading.
"""

import math
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from recipes.vision.data.images import as_array


class ForbiddenGlobal(pickle.UnpicklingError):
    """The pickle asks for something other than data."""


class _Type:
    """Stands in for `numpy.dtype`: a name of plain numbers, and their byte order."""

    def __init__(self, code, *_):
        code = code.decode("ascii") if isinstance(code, bytes) else str(code)
        # Objects, fields and the like could hold anything: bytes, integers and floats only.
        if code[:1] not in tuple("buif") or not code[1:].isdigit():
            raise pickle.UnpicklingError(f"an array of {code!r}, not of plain numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for `numpy.ndarray` until its content is known, and checked."""

    def __init__(self, *_):
        self.value = np.empty(0)

    def __setstate__(self, state):
        _, shape, kind, fortran, content = state
        self.value = _array(content, kind, shape, "F" if fortran else "C")


def _array(content, kind, shape, order="C") -> np.ndarray:
    if isinstance(content, str):
        content = content.encode("latin1")
    dtype = kind.dtype
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r}")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise pickle.UnpicklingError(
            f"an array of shape {tuple(shape)} and {dtype} in {len(content)} bytes"
        )
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _from_buffer(content, kind, shape, order):
    array = _Array()
    array.value = _array(bytes(content), kind, shape, order)
    return array


def _scalar(kind, content):
    return _array(content, kind, ())[()]


def _encode(text, encoding="latin1"):
    # How Python 3 writes bytes in the old formats.
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_NUMPY = {"_reconstruct": _Array, "scalar": _scalar, "_frombuffer": _from_buffer}
_KNOWN = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    # The module has moved between versions of NumPy.
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module in ("multiarray", "numeric")
        for name, stand_in in _NUMPY.items()
    },
}


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise ForbiddenGlobal(
                f"it asks for {module}.{name}; only numbers, text, lists, dictionaries and NumPy "
                "arrays are read"
            ) from None


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of numbers, text, lists and arrays.

    Args:
        path: A pickle of any protocol, by Python 2 or 3.

    Returns:
        The dictionary, with text keys; arrays are read-only.

    Raises:
        ValueError: If the file is damaged, or asks for anything but data; nothing was executed.
    """
    with open(path, "rb") as file:
        return load_pickle(file, str(path))


def load_pickle(file: BinaryIO, where: str) -> dict[str, Any]:
    """The same from an open file; `where` names it in messages."""
    try:
        content = _DataUnpickler(file, encoding="bytes").load()
    except ForbiddenGlobal as error:
        raise ValueError(f"{where} is refused: {error}. Nothing in it was executed.") from error
    # Damaged pickles fail in many ways: any exception of the unpickling is one of them.
    except Exception as error:
        raise ValueError(
            f"{where} is damaged: it is not a whole pickle of data ({type(error).__name__}: "
            f"{error})."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{where} is damaged: a dictionary is expected. Received: {type(content).__name__}"
        )
    return {_text(key): _plain(value) for key, value in content.items()}


def _text(key):
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _plain(value):
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list):
        return [
            item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value
        ]
    return value


def planes_to_images(data: Any, side: int, where: str) -> np.ndarray:
    """Rows of red, green and blue planes as images, uint8 `(n, side, side, 3)`.

    Args:
        data: uint8 `(n, 3 side side)`.
        side: Height and width.
        where: The file, for the message.
    """
    data = as_array(data, where)
    if data.ndim != 2 or data.shape[1] != 3 * side * side or data.dtype != np.uint8:
        raise ValueError(
            f"{where} is damaged: images are rows of {3 * side * side} bytes. "
            f"Received: shape={data.shape}, dtype={data.dtype}"
        )
    return np.ascontiguousarray(data.reshape(-1, 3, side, side).transpose(0, 2, 3, 1))
